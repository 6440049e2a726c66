"""Housekeeping of jobs, as small idempotent ops that any worker runs, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core import limits
from ...core.op import Op, maybe, one, rows
from ...sql import statement
from ..floors import Holders, Range
from .control import CANCEL, UNSEAT

GUARD = statement("jobs.guard_chore", lambda row: bool(row["mine"]))
PROMOTE = statement("jobs.promote", lambda row: int(row["taken"]))
DUE_WRITERS = statement("jobs.due_writers", lambda row: str(row["holder"]))
DUE_PROBE = statement("jobs.due_probe", lambda row: (int(row["range"]) - 1, int(row["pos"])))
RELEASE = statement("jobs.release", lambda row: int(row["released"]))
MAKE_DAYS = statement("jobs.make_days", lambda row: int(row["days"]))
DROP_DAYS = statement("jobs.drop_days", lambda row: int(row["days"]))
FORGET_CANCELS = statement("jobs.forget_cancels", lambda row: row)

DAY_TABLES = ("history", "attempt")
"""The tables that are partitioned by day. One in a transaction: readers lock both, in an order of their own."""

DAYS_LOCK_MS = 100
"""How long the making of days waits for whoever reads the table. Every settlement waits behind it for as long."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cancel request that can be dealt with now. ``ended``: its job has finished, so it is only forgotten."""

    id: int
    reason: str | None
    ended: bool


CANCELS = statement("jobs.cancels", lambda row: Wanted(row["id"], row["reason"], row["ended"]))


def mine(chore: str, lock_ms: int | None = None) -> Op[bool]:
    """Whether this transaction may do the chore: one worker at a time does.

    ``lock_ms``: how long it may wait for a lock, because others will wait behind it; None for what the session allows.
    """
    return (yield from one(GUARD, chore=chore, lock_timeout=None if lock_ms is None else f"{lock_ms}ms"))


def promote(limit: int = limits.CHORE_BATCH_MAX, *, floor: int = 0) -> Op[int]:
    """Move due jobs from scheduled to ready. Returns how many; fewer than the limit means none is left due.

    ``floor``: where what is scheduled begins (microseconds since 1970).
    """
    return (yield from one(PROMOTE, limit=limit, floor=floor))


def due_writers() -> Op[Holders]:
    """The transactions that may still write to, or have promoted from, ``scheduled``."""
    return frozenset((yield from rows(DUE_WRITERS)))


def due_probe(ranges: Sequence[Range]) -> Op[dict[int, int]]:
    """The first visible due time in each range that has one, by the range's number."""
    found = yield from rows(DUE_PROBE, lows=[r.low for r in ranges], highs=[r.high for r in ranges])
    return dict(found)


def release(tasks: Sequence[str], limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Return jobs parked as an unknown task, or a newer version of one, to ready, for what is ``rules.known`` here."""
    return (yield from one(RELEASE, reasons=["unknown_task", "newer_version"], keys=tasks, limit=limit))


def sweep_cancels(limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Carry out cancel requests whose job has left its lease, and forget those whose job has ended."""
    wanted = yield from rows(CANCELS, limit=limit)
    for each in wanted:
        if not each.ended and (yield from maybe(UNSEAT, id=each.id)) is not None:
            yield from maybe(CANCEL, id=each.id, reason=each.reason, asked=True)
    yield from rows(FORGET_CANCELS, ids=[each.id for each in wanted])
    return len(wanted)


def make_days(parent: str, ahead: int = 3) -> Op[int]:
    """Make the day partitions of the next days, of one of DAY_TABLES."""
    return (yield from one(MAKE_DAYS, parent=parent, ahead=ahead))


def drop_days(parent: str, days: int) -> Op[int]:
    """Drop the day partitions that are past their keeping, of one of DAY_TABLES."""
    return (yield from one(DROP_DAYS, parent=parent, days=days))
