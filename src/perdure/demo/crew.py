"""The workers of a demonstration: real processes of ``perdure worker``, to be killed, frozen and asked to leave."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..core.errors import PerdureError
from ..fleet.model import Worker
from ..runtime.clock import monotonic
from ..runtime.parent import Tether
from . import ops
from .ground import Ground

T = TypeVar("T")

APP = "perdure.demo.shop:app"
PATIENCE_SECONDS = 60.0
"""What each wait of a demonstration may take before it counts as failed: far more than it does on a busy machine."""

LAST_WORDS_SECONDS = 0.3
"""The server may still be carrying out what a worker sent before it was frozen. After this long without a change it
isn't; the worker's leases are given to others only much later."""

_LOOK_SECONDS = 0.01
_LOG_LINES = 20


class DemoFailed(PerdureError):
    """A demonstration couldn't go on. What it had to show isn't shown."""

    code = "demo_failed"


def until(what: str, look: Callable[[], T | None], *, patience: float = PATIENCE_SECONDS) -> T:
    """Look again and again until there is something (not None, not False). Raises DemoFailed after ``patience``."""
    deadline = monotonic() + patience
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if monotonic() > deadline:
            raise DemoFailed(f"waited {patience:.0f} s for {what}", fix="look at the log above, or try again")
        time.sleep(_LOOK_SECONDS)


def steady(look: Callable[[], T], seconds: float = LAST_WORDS_SECONDS) -> T:
    """What there is to be seen, once it hasn't changed for so long."""
    found, since = look(), monotonic()
    while monotonic() - since < seconds:
        time.sleep(_LOOK_SECONDS)
        now = look()
        if now != found:
            found, since = now, monotonic()
    return found


@dataclass(eq=False)
class Hand:
    """One worker: its process, its log, and its row once it has registered (``id``)."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    id: int = 0

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def kill(self) -> None:
        """End it with SIGKILL, and gone when this returns."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop the process where it is: it can do nothing, and doesn't know."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had happened."""
        self.process.send_signal(signal.SIGCONT)

    def leave(self) -> int:
        """Ask it to drain and leave; its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)

    def said(self, word: str) -> list[str]:
        """The lines of its log that contain the word, without date and level."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line.rpartition(f"{word}:")[2].strip() for line in lines if f" {word}:" in line]


def held_at_last(ground: Ground, hand: Hand) -> list[ops.Held]:
    """What a worker that has been killed leaves behind, once the server has carried out what it had sent."""
    until(f"the sessions of worker {hand.name} to end", lambda: ground.ask(ops.sessions(f"demo-{hand.name}")) == 0)
    return ground.ask(ops.in_hand(hand.id))


class Crew:
    """The workers of one demonstration. ``living`` lists the workers' rows. None outlives the ``with``."""

    def __init__(self, url: str, schema: str, slots: int, living: Callable[[], list[Worker]]) -> None:
        self._environment = {**os.environ, "DATABASE_URL": url, "PERDURE_SCHEMA": schema}
        self._slots, self._living = slots, living
        self._home = Path(tempfile.mkdtemp(prefix="perdure-demo-"))
        self._tether = Tether(signal.SIGKILL)  # one may be frozen when the story is killed
        self.hands: list[Hand] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *failure: object) -> None:
        for hand in self.hands:
            with suppress(ProcessLookupError):
                hand.kill()
        self._tether.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def start(self, *names: str) -> list[Hand]:
        """Start workers of these names, and wait until they are registered."""
        started = [self._start(name) for name in names]
        for hand in started:
            hand.id = until(f"worker {hand.name} to start", lambda hand=hand: self._registered(hand))  # type: ignore[misc]
        return started

    def row(self, hand: Hand) -> Worker | None:
        """The row that the process works under now; another one after it was declared dead and began anew."""
        return next((row for row in self._living() if row.pid == hand.pid and row.state == "alive"), None)

    def logs(self) -> str:
        """The end of each worker's log."""
        parts = []
        for hand in self.hands:
            lines = hand.log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            parts += [f"worker {hand.name} (process {hand.pid}):", *(f"  {line}" for line in lines)]
        return "\n".join(parts)

    def _start(self, name: str) -> Hand:
        log = self._home / f"{name}.log"
        arguments = ["worker", APP, "--name", f"demo-{name}", "--queues", f"default:{self._slots}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "perdure", *arguments],
                env={**self._environment, **self._tether.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[self._tether.reading],
                start_new_session=True,  # Ctrl-C is for the story, whose end is theirs
            )
        hand = Hand(name, process, log)
        self.hands.append(hand)
        return hand

    def _registered(self, hand: Hand) -> int | None:
        if hand.process.poll() is not None:
            raise DemoFailed(f"worker {hand.name} ended with {hand.process.returncode}: {hand.log.read_text().strip()}")
        row = self.row(hand)
        return row.id if row is not None else None
