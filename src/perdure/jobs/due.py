"""The floor of ``scheduled``: where looks and promotions begin, past what has been promoted already. Pure.

It is the floor of ``jobs.floors`` with one lane, whose positions are the microseconds of ``run_at``. Every statement
that writes ``scheduled`` clamps ``run_at`` to its own moment or later, under RowExclusiveLock on ``scheduled``; so
whatever can still show up at or below a moment of the past belongs to a transaction that held the lock at that moment,
and a listing of the holders names it. That is all the floor needs, and so a candidate is no job's position but a moment
that a look has seen nothing before: a worker raises its floor past what others have promoted, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from ..core.op import Op
from .floors import Floor, Holders, Range

LANE = 0

SLACK_MICROS = 2_000_000
"""How far the floor stays behind the server's clock, so that a clock put back by less strands nothing."""

CLOCK_STEP_SECONDS = 1.0
"""A server's clock that lost this much against ours was put back: what is scheduled now may lie below the floor."""

LAG_SECONDS = 1.0
"""How long a candidate waits, so that short transactions don't become its guards."""

QUIET_MICROS = 60_000_000
"""The floor rises this often although nothing seems to be consumed: what was scheduled and promoted between two looks
of this worker leaves no trace in them."""


@dataclass(slots=True)
class Due:
    """The floor as one worker knows it. It rises while something is consumed, and once a minute, so that an idle worker
    asks next to nothing for it; it begins at nought, which is slow and true."""

    floor: Floor = field(default_factory=lambda: Floor((LANE,)))
    _head: int | None = None
    _consumed_at: int | None = None
    _ahead: float = -inf
    _promoted: bool = False

    @property
    def start(self) -> int:
        """The moment (microseconds since 1970) after which everything stands that is scheduled."""
        return self.floor.start(LANE)

    @property
    def open(self) -> bool:
        """Whether listing the writers would serve."""
        return self.floor.open

    def reset(self) -> None:
        """Forget everything: the connection may lead to another server now, with another clock."""
        self.floor.reset()
        self._head = self._consumed_at = None
        self._ahead = -inf

    def promoted(self) -> None:
        """Note that this worker has promoted something, which looks may not have seen."""
        self._promoted = True

    def looked(self, clock: int, head: int | None, now: float) -> None:
        """A look that began at ``start`` came back: the server's time and the first row's (microseconds since 1970).

        ``now``: monotonic seconds, to notice when the server's clock is put back.
        """
        ahead = clock / 1e6 - now
        if self._ahead - ahead > CLOCK_STEP_SECONDS:
            self.reset()
        self._ahead = max(self._ahead, ahead)
        gone = self._promoted or (self._head is not None and (head is None or head > self._head))
        if gone or self._consumed_at is None or clock - self._consumed_at > QUIET_MICROS:
            self._consumed_at = clock
        self._head, self._promoted = head, False
        if self.floor.stragglers or self.floor.reached[LANE] < self._consumed_at:
            passed = clock - SLACK_MICROS
            # One before the first row: others may be due at the same microsecond.
            self.floor.claimed({LANE: passed if head is None else min(passed, head - 1)}, short=False)


class Promote(Protocol):
    """The op that moves what is due, so many at most, from a floor on; how many it moved."""

    def __call__(self, limit: int, *, floor: int) -> Op[int]: ...  # noqa: D102


@dataclass(slots=True)
class Timetable:
    """One of the tables whose rows come due: its floor, when its next row is due, and what is sent then.

    ``at``: monotonic seconds, infinity for nothing in sight.
    """

    name: str
    promote: Promote
    writers: Callable[[], Op[Holders]]
    probe: Callable[[Sequence[Range]], Op[dict[int, int]]]
    due: Due = field(default_factory=Due)
    at: float = inf
    tend_next: bool = False

    def looked(self, clock: int, due_in: float | None, due_at: int | None, now: float) -> None:
        """Take what a look has found: the server's time and the first row's (microseconds since 1970), and how far
        that is off (seconds). ``now``: monotonic seconds."""
        self.at = inf if due_in is None else now + due_in
        self.due.looked(clock, due_at, now)
        self.tend_next = True
