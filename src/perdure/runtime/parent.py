"""A process that must not outlive its parent, however that one ends.

The parent keeps the writing end of a pipe open and never writes; the child gets the reading end, and reads the end of
file when the parent is gone, whatever killed it. On Linux the kernel sends a signal as well (``PR_SET_PDEATHSIG``),
which a child hears that is busy importing, or whose loop is held up.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable

_VARIABLE = "PERDURE_PARENT"
_PR_SET_PDEATHSIG = 1


class Tether:
    """The parent's side: what a child must be given. One serves any number of children.

    ``number``: the signal that the kernel sends them when the parent dies. A child that is stopped hears only SIGKILL.
    """

    def __init__(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.reading, self._writing = os.pipe()
        self._number = number

    @property
    def environment(self) -> dict[str, str]:
        """The variables to add to the child's environment; the descriptor ``reading`` has to be passed, too."""
        return {_VARIABLE: f"{os.getpid()}:{self.reading}:{self._number.value}"}

    def close(self) -> None:
        """Let go: children that still run take this process for gone."""
        os.close(self._writing)
        os.close(self.reading)


def follow() -> None:
    """The child's side: ask for the signal when the parent dies, and end if it has died already."""
    named = _named()
    if named is not None and not bound_to(named[0], named[2]):
        sys.exit(0)


def bound_to(pid: int, number: int) -> bool:
    """Have the kernel send this process the signal when its parent, ``pid``, dies. False: it has died already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == pid


def gone() -> bool:
    """Whether this process had a parent to follow that isn't there any more."""
    named = _named()
    return named is not None and os.getppid() != named[0]


def watch(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    """Call ``act`` once, on the loop, when the parent is gone; nothing when there is none to follow."""
    named = _named()
    if named is None:
        return
    reading = named[1]

    def ended() -> None:
        loop.remove_reader(reading)
        act()

    loop.add_reader(reading, ended)


def _named() -> tuple[int, int, int] | None:
    """The parent's pid, the descriptor that ends with it, and the number of the signal; None without a parent."""
    said = os.environ.get(_VARIABLE)
    if said is None:
        return None
    pid, reading, number = said.split(":")
    return int(pid), int(reading), int(number)
