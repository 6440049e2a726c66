"""What follows the end of an activation, in the settlement's own transaction: what waited for it is woken, and a run
that has gone to wait is woken at once if what it waits for is there already.

Two sides, neither of which can miss the other: who writes to an inbox holds the run's row (``hold``) before it looks
whether the run waits; a run that goes to wait locks its row after that and looks at its inbox in a later statement. If
it can't have the lock, somebody is writing, and it waits for a moment only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...core import limits
from ...core.op import Op, maybe, rows
from ...jobs.ops.wake import wake
from ...jobs.work import End
from ...sql import statement
from ..ends import RunEnd

PARENTS = statement("workflows.parents", lambda row: int(row["job"]))
ENDED = statement("workflows.end", lambda row: int(row["parent"]))
UNTOLD = statement("workflows.untold", lambda row: int(row["job"]))
FALLEN = statement("workflows.fallen", lambda row: int(row["id"]))
ORPHANS = statement("workflows.orphans", lambda row: int(row["job"]))
ASK = statement("workflows.ask", lambda row: int(row["job"]))
PLEAS = statement("workflows.pleas", lambda row: int(row["id"]))
SETTLE_DOWN = statement("workflows.settle_down", lambda row: int(row["job"]))
STIRRED = statement("workflows.stirred", lambda row: int(row["id"]))
TROUBLE = statement("workflows.trouble", lambda row: row)
RENEW = statement("workflows.renew", lambda row: row)
DOZE = statement("workflows.doze", lambda row: row)
NUDGE = statement("workflows.nudge", lambda row: row)
NUDGED = statement("workflows.nudged", lambda row: (int(row["id"]), str(row["state"])))
UNPARK = statement("workflows.unpark", lambda row: int(row["id"]))
UNNUDGE = statement("workflows.unnudge", lambda row: row)

DOZE_SECONDS = 0.5
"""How long a run waits that couldn't look at its inbox."""


def follow(ends: Sequence[End]) -> Op[None]:
    """What follows these ends. First those that wait for a lock, then those that skip what is locked."""
    over = {end.job.id: end for end in ends if end.verdict in ("completed", "cancelled", "dead")}
    if over:
        failed = {id: end.failed_step for id, end in over.items() if isinstance(end, RunEnd)}
        yield from tell(sorted(over), failed, [id for id in sorted(over) if over[id].verdict != "completed"])
    held = sorted((end.job.id, end.text) for end in ends if end.verdict == "held")
    if held:
        yield from rows(TROUBLE, ids=[id for id, _ in held], troubles=[text for _, text in held])
    anew = {end.job.id: end.anew for end in ends if isinstance(end, RunEnd) and end.anew is not None}
    for id in sorted(anew):
        yield from rows(RENEW, run=id, payload=anew[id])
    if anew:
        yield from wake(list(anew))
    parked = sorted(end.job.id for end in ends if end.verdict == "waiting" and end.job.id not in anew)
    if parked:
        yield from _parked(parked)


def fallen(ends: Sequence[End]) -> Op[None]:
    """What follows when children died under runs: those for which it was the last time have ended."""
    dead = yield from rows(FALLEN, ids=sorted(end.job.id for end in ends))
    if dead:
        yield from tell(dead, {}, dead)


def close(limit: int = limits.CHORE_BATCH_MAX, *, all: bool = True) -> Op[int]:
    """Do the same for runs whose job was ended by somebody who didn't; how many. ``all``: not only of the dead."""
    untold = yield from rows(UNTOLD, limit=limit, all=all)
    if untold:
        yield from tell(untold, {}, untold)
    return len(untold)


def tell(ids: Sequence[int], failed: Mapping[int, str | None], unfinished: Sequence[int]) -> Op[None]:
    """These have ended, in ascending id, those at a step that failed, these without completing: parents hear of it, and
    children end with them."""
    yield from rows(PARENTS, ids=ids)
    completed = [id not in unfinished for id in ids]
    parents = yield from rows(ENDED, ids=ids, failed_steps=[failed.get(id) for id in ids], completed=completed)
    yield from rouse(parents)
    while unfinished and (orphans := (yield from rows(ORPHANS, ids=unfinished, limit=limits.RUN_TREE_MAX))):
        yield from ask(orphans, "the run that started it has ended")


def ask(ids: Sequence[int], reason: str) -> Op[None]:
    """Ask runs to end, and wait for nobody: the sweep asks those to which a transaction is just saying something."""
    asked = yield from rows(ASK, ids=sorted(ids), reason=reason)
    yield from rouse(asked)


def _parked(ids: list[int]) -> Op[None]:
    free = set((yield from rows(SETTLE_DOWN, ids=ids)))
    stirred = (yield from rows(STIRRED, ids=sorted(free))) if free else []
    if stirred:
        yield from wake(stirred)
    if busy := [id for id in ids if id not in free]:
        yield from rows(DOZE, ids=busy, seconds=DOZE_SECONDS)


def rouse(ids: Sequence[int]) -> Op[None]:
    """Wake those that wait; those whose row is locked by somebody are left to the sweep."""
    if ids:
        locked = (yield from wake(ids)).locked
        if locked:
            yield from nudge(locked)


def nudge(ids: Sequence[int]) -> Op[None]:
    """Ask runs to look up."""
    yield from rows(NUDGE, ids=sorted(ids))


def sweep(limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Wake runs that were asked to look up while they wait, let those go on that were resumed while they were being
    parked, or are asked to end, and forget those that have ended. Ask those to end that couldn't be asked at once."""
    found = yield from rows(NUDGED, limit=limit)
    waiting, held, ended = ([id for id, at in found if at == wanted] for wanted in ("waiting", "held", "ended"))
    done = len((yield from wake(waiting)).ids) if waiting else 0
    for id in sorted(set(held)):
        done += yield from unpark(id)
    if held or ended:  # one that is parked again, because its code doesn't fit, isn't let go on once more
        yield from rows(UNNUDGE, runs=[*held, *ended])
    pleas = yield from rows(PLEAS, limit=limit)
    yield from rouse(pleas)
    return done + len(ended) + len(pleas)


def unpark(job: int) -> Op[bool]:
    """Return a parked run to ready. False: it isn't parked."""
    return (yield from maybe(UNPARK, run=job)) is not None
