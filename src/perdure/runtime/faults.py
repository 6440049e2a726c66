"""Named fault points: places where a test may kill, freeze or delay a process. Off unless PERDURE_FAULT arms one.

``PERDURE_FAULT=settle.before_flush:kill`` ends the process there with SIGKILL; ``:stop`` freezes it with SIGSTOP.
``@N`` after the name waits for the N-th passing. A fault point costs one truth test when none is armed.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_armed: dict[str, tuple[int, signal.Signals]] = {}
_passed: Counter[str] = Counter()


def _arm(text: str) -> None:
    for each in filter(None, text.split(",")):
        place, _, act = each.partition(":")
        name, _, nth = place.partition("@")
        _armed[name] = (int(nth or 1), _SIGNALS[act])


_arm(os.environ.get("PERDURE_FAULT", ""))


def point(name: str) -> None:
    """A place where a test may end this process."""
    if _armed and name in _armed:
        _passed[name] += 1
        nth, act = _armed[name]
        if _passed[name] == nth:
            os.kill(os.getpid(), act)
