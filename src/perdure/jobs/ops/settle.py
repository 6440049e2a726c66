"""Settle: each job ends by itself, in as few statements as there are kinds of ends. What didn't match is Stale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...core import limits
from ...core.errors import OwnershipLost
from ...core.op import Op, Row, maybe, one, rows, thin
from ...sql import statement
from .. import rules
from ..work import Claimed, End
from .follow import follow
from .unique import release_keys


def _ids(row: Row) -> list[int]:
    return row["ids"] or []


FINISH = statement("jobs.finish", _ids)
RESCHEDULE = statement("jobs.reschedule", _ids)
BURY = statement("jobs.bury", _ids)
PARK = statement("jobs.park", _ids)
ISOLATE = statement("jobs.isolate", _ids)
GIVE_BACK = statement("jobs.give_back", _ids)
WAIT = statement("jobs.wait", _ids)
TRACES = statement("jobs.traces", lambda row: int(row["id"]))
HELD_LEASES = statement("jobs.held_leases", lambda row: (int(row["id"]), int(row["jobs"])))
LOCK = statement("jobs.lock", lambda row: int(row["id"]))
LOCK_FREE = statement("jobs.lock_free", lambda row: int(row["id"]))
BUSY_RUNS = statement("jobs.busy_runs", lambda row: int(row["job"]))
HOLD = statement("jobs.hold", lambda row: int(row["id"]))
DROP_LEASES = statement("jobs.drop_leases", lambda row: int(row["id"]))
FORGET_SIDES = statement("jobs.forget_sides", lambda row: int(row["forgotten"]))
GENERATIONS = statement("jobs.generations", lambda row: (int(row["id"]), int(row["generation"])))

FINAL = ("completed", "cancelled", "expired")
"""Verdicts that end a job for good, as one statement does for each of them."""


def settle(ends: Sequence[End], worker: int, emptied: Sequence[int] = (), *, sides: bool = False) -> Op[list[End]]:
    """Settle the ends; ``emptied`` are leases that have none of their jobs left once these have ended.

    Returns the stale ends: nothing was written for them. The statements must share one transaction when there are
    several (``rules.several``), because the first one drops the leases. Then the jobs are locked beforehand: each
    statement locks in ascending id, but together they wouldn't. ``sides``: the jobs may have rows in side tables, which
    what ends for good takes along, in the same transaction again.
    """
    stale: list[End] = []
    groups = rules.grouped(ends)
    if len(groups) > 1:
        yield from rows(LOCK, ids=[end.job.id for end in ends], generations=[end.job.generation for end in ends])
    for (verdict, generation, charge), group in groups.items():
        shared = {
            "ids": [end.job.id for end in group],
            "leases": [end.job.lease.id for end in group],
            "generation": generation,
            "emptied": list(emptied),
        }
        settled = yield from _settle_group(verdict, charge, worker, group, shared)
        emptied = ()
        if len(settled) < len(group):
            found = set(settled)
            stale += [end for end in group if end.job.id not in found]
    if sides:
        refused = {end.job.id for end in stale}
        yield from follow([end for end in ends if rules.has_follow_ups(end.job) and end.job.id not in refused])
        done = [end.job for end in ends if end.verdict in FINAL and end.job.id not in refused]
        yield from one(FORGET_SIDES, ids=[job.id for job in done])
        if keyed := [job.id for job in done if rules.has_key(job)]:
            yield from release_keys(keyed)
    for then, group in rules.followed(ends, stale).items():
        yield from then(group)
    return stale


def settle_free(
    ends: Sequence[End], worker: int, emptied: Sequence[int], *, sides: bool = False
) -> Op[tuple[list[End], list[End]]]:
    """As ``settle``, of the ends whose jobs, and whose runs, no other transaction has locked: the stale ends, and the
    locked ones.

    A lease with a locked job isn't emptied yet. Drive it in one transaction.
    """
    ids, generations_ = [end.job.id for end in ends], [end.job.generation for end in ends]
    free = set((yield from rows(LOCK_FREE, ids=ids, generations=generations_)))
    rest = [end for end in ends if end.job.id not in free]
    now = (yield from generations([end.job.id for end in rest])) if rest else {}
    blocked = [end for end in rest if now.get(end.job.id) == end.job.generation]
    if followed := [end.job.id for end in ends if end.then is not None and end.job.id in free]:
        busy = set((yield from rows(BUSY_RUNS, ids=followed)))
        blocked += [end for end in ends if end.job.id in busy]
    if not blocked:
        return (yield from settle(ends, worker, emptied, sides=sides)), []
    left_alone = {end.job.id for end in blocked}
    leases = {end.job.lease.id for end in blocked}
    free_ends = [end for end in ends if end.job.id not in left_alone]
    emptied = [id for id in emptied if id not in leases]
    return (yield from settle(free_ends, worker, emptied, sides=sides)), blocked


def _settle_group(
    verdict: str, charge: int, worker: int, group: Sequence[End], shared: Mapping[str, Any]
) -> Op[list[int]]:
    elapsed = [end.elapsed for end in group]
    texts = [end.text for end in group]
    if verdict in FINAL:
        results = [end.result for end in group]
        told = {"results": thin(results), "errors": thin(texts)}
        return (yield from one(FINISH, **shared, charge=charge, outcome=verdict, elapsed=elapsed, **told))
    if verdict == "held":
        reasons, keys = [end.reason for end in group], [end.key for end in group]
        return (yield from one(PARK, **shared, worker=worker, reasons=reasons, keys=keys))
    if verdict == "returned":
        return (yield from one(GIVE_BACK, **shared, worker=worker, elapsed=elapsed, reason=group[0].reason))
    if verdict == "waiting":
        wake_ats = [end.wake_at for end in group]
        return (yield from one(WAIT, **shared, worker=worker, elapsed=elapsed, wake_ats=wake_ats))
    if verdict == "dead":
        reasons = [end.reason for end in group]
        return (
            yield from one(BURY, **shared, worker=worker, charge=charge, elapsed=elapsed, reasons=reasons, errors=texts)
        )
    delays = [end.delay for end in group]
    if verdict in ("crashed", "deferred"):
        suspects = {**shared, "worker": worker, "charge": charge, "elapsed": elapsed, "delays": delays, "errors": texts}
        last = [end.reason is not None for end in group]
        return (yield from one(ISOLATE, **suspects, last=last, crashes_max=limits.SUSPECT_CRASHES_MAX))
    return (
        yield from one(
            RESCHEDULE,
            **shared,
            worker=worker,
            charge=charge,
            ending=verdict,
            elapsed=elapsed,
            delays=delays,
            errors=texts,
        )
    )


def hold(job: Claimed) -> Op[None]:
    """Keep the job for the rest of the transaction: nobody rescues it meanwhile. Raises OwnershipLost."""
    if (yield from maybe(HOLD, id=job.id, generation=job.generation, lease=job.lease.id)) is None:
        raise lost(job)


def complete_unheld(end: End) -> Op[None]:
    """As ``complete``, in a transaction that doesn't hold the job yet."""
    yield from hold(end.job)
    yield from complete(end)


def complete(end: End) -> Op[None]:
    """Settle one completed job in the transaction of its handler, which holds it. Raises OwnershipLost; then nothing
    was written."""
    sides = end.job.extras is not None and end.job.extras.sides
    if (yield from settle([end], 0, sides=sides)):
        raise lost(end.job)


def lost(job: Claimed) -> OwnershipLost:
    """What a handler is told that no longer owns its job."""
    return OwnershipLost(
        f"isn't at generation {job.generation} any more",
        job_id=job.id,
        field=f"job {job.id}",
        fix="leave the handler: whoever holds the job now runs it",
    )


def drop_leases(ids: Sequence[int]) -> Op[None]:
    """Drop leases that have none of their jobs left."""
    yield from rows(DROP_LEASES, ids=ids)


def held_leases(ids: Iterable[int], worker: int, unsure: Iterable[int] = ()) -> Op[dict[int, int]]:
    """Those of the leases that the worker still has, and how many jobs are in each besides those that may or may not
    have been settled. A server that took over, and lacks the claim, has given none of them; its jobs stand elsewhere,
    and perhaps another worker's lease has that number now. And one that lacks a settlement has more jobs in a lease
    than have not ended."""
    return dict((yield from rows(HELD_LEASES, ids=sorted(set(ids)), worker=worker, unsure=list(unsure))))


def traced(ends: Sequence[End]) -> Op[list[End]]:
    """Of ends whose settlement had an unknown outcome and now don't match: those that a trace shows were settled."""
    found = yield from rows(
        TRACES,
        ids=[end.job.id for end in ends],
        generations=[end.job.generation for end in ends],
        leases=[end.job.lease.id for end in ends],
    )
    known = set(found)
    return [end for end in ends if end.job.id in known]


def generations(ids: Sequence[int]) -> Op[dict[int, int]]:
    """The generations these jobs have now, for the log of stale ends. A job that has finished isn't there."""
    return dict((yield from rows(GENERATIONS, ids=ids)))
