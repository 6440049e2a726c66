"""What guarded queues may take: asked for when an enqueue finds one, kept by whoever lets jobs into ``ready``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from ...core import limits
from ...core.errors import NotPermitted
from ...core.op import Op, Row, Statement, maybe, one, rows
from ...sql import statement
from ..bounds import Room, Rule, Shed, admission, saturated
from ..model import JobSpec
from .queues import make

ADMIT = statement("queues.admit", Room.read)
SHED: Statement[int | None] = statement("queues.shed", lambda row: row["short"])
SAMPLE = statement("queues.sample", lambda row: Sample(**row))
TENANTS = statement("queues.tenants", lambda row: str(row["name"]))
ADVANCE = statement("queues.advance", lambda row: int(row["advanced"]))


@dataclass(frozen=True, slots=True)
class Sample:
    """What a worker learns of a queue that it counts. ``lined``: jobs wait for room; ``taken``: it was counted now."""

    guarded: bool
    lined: bool
    taken: bool
    tenant_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What came of declaring one queue: whether that changed anything, and what another app had said differently."""

    rule: Rule
    changed: bool
    before: Rule | None
    before_by: str | None


def admit(specs: Sequence[JobSpec]) -> Op[Mapping[int, datetime | timedelta]]:
    """Make room for the jobs, as their queues' reactions say: when those at these places are due, instead.

    What gives way is gone with the transaction, or at once without one; nothing else is written yet. Raises
    QueueSaturated.
    """
    wanted = Counter(spec.queue for spec in specs)
    rooms = yield from rows(ADMIT, names=list(wanted), wanted=list(wanted.values()))
    if len(rooms) < len(wanted):
        yield from make(list(wanted))
        rooms = yield from rows(ADMIT, names=list(wanted), wanted=list(wanted.values()))
    taken = admission(specs, rooms)
    if taken.sheds and (short := (yield from _shed(taken.sheds))) is not None:
        raise saturated(taken.sheds[short - 1].room, taken.sheds[short - 1].jobs)
    return taken.due


def _shed(sheds: Sequence[Shed]) -> Op[int | None]:
    """Discard what gives way, in all the queues or in none; which of them (from 1) has too little to discard. Raises
    NotPermitted for a user that may enqueue, and no more."""
    queues, priorities, wanted = zip(*((shed.room.id, shed.priority, shed.jobs) for shed in sheds), strict=True)
    try:
        return (yield from one(SHED, queues=list(queues), priorities=list(priorities), wanted=list(wanted)))
    except NotPermitted as error:
        room = sheds[0].room
        raise NotPermitted(
            f"the queue {room.name} is full, and this database user may not discard what is less urgent in it",
            sqlstate=error.sqlstate,
            field="queue",
            fix=f"enqueue as a user that is granted perdure_worker, or try again in {room.retry_after:.0f} s",
        ) from error


def sample(queue: int, fresh: float) -> Op[Sample | None]:
    """Count a queue, unless somebody did within the last ``fresh`` seconds. None: there is no such queue."""
    return (yield from maybe(SAMPLE, queue=queue, fresh=fresh))


def tenants_required(names: Sequence[str]) -> Op[list[str]]:
    """Those of the queues that take jobs for a tenant only."""
    return (yield from rows(TENANTS, names=list(names)))


def advance(queue: int, limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Let in as many of those that wait in line as there is room for; how many."""
    return (yield from one(ADVANCE, queue=queue, limit=limit))


def declare(rules: Sequence[Rule], by: str) -> Op[list[Declared]]:
    """Write what an app declares of its queues, so that everybody's enqueues are bound by it. The last one counts."""
    yield from make([rule.name for rule in rules])
    found = []
    for rule in sorted(rules, key=lambda rule: rule.name):
        said = {field.name: getattr(rule, field.name) for field in fields(rule)}
        row = yield from one(DECLARE, **said, declared_by=by)
        before = _before(rule.name, row)
        differs = before is not None and row["before_by"] != by and before != rule
        found.append(
            Declared(
                rule=rule,
                changed=row["changed"],
                before=before if differs else None,
                before_by=row["before_by"] if differs else None,
            )
        )
    return found


def _row(row: Row) -> Row:
    return row


def _before(name: str, row: Row) -> Rule | None:
    if row["before_by"] is None:
        return None
    return Rule(name=name, **{field.name: row[field.name] for field in fields(Rule) if field.name != "name"})


DECLARE = statement("queues.declare", _row)
