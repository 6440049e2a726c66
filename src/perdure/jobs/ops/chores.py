"""Housekeeping of jobs, as small idempotent ops that any worker runs, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ...core import limits
from ...core.op import Op, maybe, one, rows
from ...fleet.ops.workers import prune
from ...sql import statement
from ..floors import Holders, Range
from . import follow
from .control import CANCEL, UNSEAT
from .unique import Sweep, forget_effects, release_keys
from .wake import wake

SWEEP_SIDES = statement("jobs.sweep_sides", lambda row: int(row["forgotten"]))
PROMOTE = statement("jobs.promote", lambda row: int(row["taken"]))
DUE_WRITERS = statement("jobs.due_writers", lambda row: str(row["holder"]))
DUE_PROBE = statement("jobs.due_probe", lambda row: (int(row["range"]) - 1, int(row["pos"])))
RELEASE = statement("jobs.release", lambda row: int(row["released"]))
MAKE_DAYS = statement("jobs.make_days", lambda row: int(row["days"]))
DROP_DAYS = statement("jobs.drop_days", lambda row: int(row["days"]))
DROP_STRAYS = {
    "history": statement("jobs.drop_history_strays", lambda row: int(row["rows"])),
    "attempt": statement("jobs.drop_attempt_strays", lambda row: int(row["rows"])),
}
FORGET_FINISHED = statement("jobs.forget_finished", lambda row: int(row["looked"]))
FORGET_CANCELS = statement("jobs.forget_cancels", lambda row: row)

DAY_TABLES = ("history", "attempt")
"""The tables that are partitioned by day. One in a transaction: readers lock both, in an order of their own."""

DAYS_LOCK_MS = 100
"""How long the making of days waits for whoever reads the table. Every settlement waits behind it for as long."""


DAYS_DROPPED_MAX = 8
"""Day partitions that one transaction drops: each takes a lock of its own in the server's table of them."""


@dataclass(frozen=True, slots=True)
class Duty:
    """A chore of a period, for which no job waits: done once in so many seconds, by whoever gets to it first.

    ``op`` does as much as it is given at most (``batch``), and returns how much it did: as much means that there is
    more. Each is a transaction. ``lock_ms``: how long one waits for a lock, because others will wait behind it; None
    for what the session allows. ``pausable``: a crash loop keeps it waiting; not where a job may wait for what it does.
    """

    name: str
    op: Callable[[int], Op[int]]
    batch: int = limits.CHORE_BATCH_MAX
    period: float = 3_600.0
    lock_ms: int | None = None
    pausable: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cancel request that can be dealt with now. ``ended``: its job has finished, so it is only forgotten. ``waits``:
    its job waits, and is woken to deal with it."""

    id: int
    reason: str | None
    ended: bool
    waits: bool


CANCELS = statement("jobs.cancels", lambda row: Wanted(row["id"], row["reason"], row["ended"], row["waits"]))


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
    return (
        yield from one(
            RELEASE, reasons=["unknown_task", "newer_version", "checkpoint_version"], keys=tasks, limit=limit
        )
    )


def sweep_cancels(limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Carry out cancel requests whose job has left its lease, and forget those whose job has ended; how many."""
    wanted = yield from rows(CANCELS, limit=limit)
    for each in wanted:
        if each.ended or each.waits or (yield from maybe(UNSEAT, id=each.id)) is None:
            continue
        if (yield from maybe(CANCEL, id=each.id, reason=each.reason, asked=True, force=False)) is not None:
            yield from release_keys([each.id])
    if waiting := [each.id for each in wanted if each.waits]:
        yield from wake(waiting)
    yield from rows(FORGET_CANCELS, ids=[each.id for each in wanted])
    return len(wanted)


def make_days(parent: str, ahead: int = 3) -> Op[int]:
    """Make the day partitions of the next days, of one of DAY_TABLES."""
    return (yield from one(MAKE_DAYS, parent=parent, ahead=ahead))


def drop_days(parent: str, days: int, limit: int = DAYS_DROPPED_MAX) -> Op[int]:
    """Drop the oldest day partitions that are past their keeping, of one of DAY_TABLES; how many."""
    return (yield from one(DROP_DAYS, parent=parent, days=days, limit=limit))


def drop_strays(parent: str, days: int, limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Delete what is past its keeping and stands in no day's partition, of one of DAY_TABLES; how many rows."""
    return (yield from one(DROP_STRAYS[parent], days=days, limit=limit))


def sweep_sides(days: int, limit: int) -> Op[int]:
    """Forget checkpoints and reports of jobs that were ended by an older worker, or by SQL alone, what followed what so
    many days ago, and what can't follow a job that nobody remembers; how many rows."""
    return (yield from one(SWEEP_SIDES, days=days, limit=limit))


def forget_finished(history_days: int, limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Delete finished jobs of queues that keep them for less long than all; how many it has looked at, at least."""
    return (yield from one(FORGET_FINISHED, history_days=history_days, limit=limit))


def duties(history_days: int) -> list[Duty]:
    """Every chore of a period. ``history_days``: how long finished jobs and the attempt log are kept."""
    of_days = [
        duty
        for parent in DAY_TABLES
        for duty in (
            Duty(f"{parent}.make", partial(_make_days, parent), lock_ms=DAYS_LOCK_MS),
            Duty(f"{parent}.drop", partial(drop_days, parent, history_days), DAYS_DROPPED_MAX, lock_ms=DAYS_LOCK_MS),
            Duty(f"{parent}.strays", partial(drop_strays, parent, history_days)),
        )
    ]
    followed = Duty("follow_ups.sweep", follow.Sweep(), period=limits.FOLLOW_UPS_SWEEP_SECONDS, pausable=False)
    forgetful = Duty("queues.retention", partial(forget_finished, history_days))
    kept = [
        Duty("sides.sweep", partial(sweep_sides, history_days)),
        Duty("unique_keys.drop", Sweep()),
        Duty("effects.drop", forget_effects),
    ]
    return [*of_days, forgetful, followed, *kept, Duty("workers.prune", partial(prune, 1))]


def _make_days(parent: str, limit: int) -> Op[int]:
    return make_days(parent)
