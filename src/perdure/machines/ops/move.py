"""Create, move and forget entities, by compare-and-set: the row's state is asked in the statement that changes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ...core import context
from ...core.op import Op, maybe
from ...jobs.model import JobSpec
from ...jobs.ops.enqueue import enqueue
from ...jobs.ops.whole import whole
from ...sql import statement
from ..errors import (
    EntityExists,
    EntityNotFound,
    GuardRefused,
    IllegalTransition,
    InvalidMachine,
    TransitionConflict,
)
from ..model import Entity, Facts, Machine
from .read import entity, get

CREATE = statement("machines.create", entity)
MOVE = statement("machines.move", entity)
FORGET = statement("machines.forget", entity)

TRIES_MAX = 10
"""How often a guarded move looks again, when others move the entity between its look and its act."""

TIMER = "machine/"
"""What the tasks that make timed transitions are called, before the machine's name."""


class _Unsaid(Exception):
    """A guard has asked for a fact that nobody gave."""

    def __init__(self, fact: object) -> None:
        super().__init__(fact)
        self.fact = fact


class _Facts(dict[str, Any]):
    """What a guard may know: to ask for more is a no, and not an error of the guard's."""

    def __missing__(self, fact: str) -> Any:
        raise _Unsaid(fact)


def create(machine: Machine, id: str, *, by: str | None = None, reason: str | None = None) -> Op[Entity]:
    """Begin an entity. Raises EntityExists, or EntityNotFound when the machine isn't declared in the database; nothing
    is written, also when a job that its first state asks for is refused."""
    created = _create(machine, id, by, reason)
    return (yield from (whole(created) if _asks(machine, machine.initial) else created))


def _create(machine: Machine, id: str, by: str | None, reason: str | None) -> Op[Entity]:
    made = yield from maybe(CREATE, machine=machine.name, id=id, by=by, reason=reason, context=context.captured())
    if made is None:
        if (yield from get(machine.name, id)) is None:
            raise EntityNotFound(
                "isn't declared in this database", field=f"machine {machine.name}", fix="client.machines.declare(app)"
            )
        raise EntityExists("exists already", field=_named(machine, id), fix="move it instead")
    yield from _entered(machine, made)
    return made


def move(
    machine: Machine,
    id: str,
    event: str,
    *,
    expected: int | None = None,
    facts: Facts | None = None,
    by: str | None = None,
    reason: str | None = None,
) -> Op[Entity]:
    """Move an entity by an event; where it stands then. The jobs that entering the state asks for are enqueued with it.

    ``expected``: the revision that it must have. ``facts``: what its guards may know. Raises IllegalTransition,
    GuardRefused, TransitionConflict or EntityNotFound, and what an enqueue raises; nothing is written.
    """
    moved = _move(machine, id, event, expected, facts, by, reason)
    asks = any(_asks(machine, each.target) for (_, name), each in machine.table.items() if name == event)
    return (yield from (whole(moved) if asks else moved))


def _move(
    machine: Machine,
    id: str,
    event: str,
    expected: int | None,
    facts: Facts | None,
    by: str | None,
    reason: str | None,
) -> Op[Entity]:
    seen = -1
    for _ in range(TRIES_MAX):
        revision = expected
        if any(each.guard for (_, name), each in machine.table.items() if name == event):
            revision = yield from _guarded(machine, id, event, expected, facts or {})
        moved = yield from maybe(
            MOVE, machine=machine.name, id=id, event=event, revision=revision, by=by, reason=reason,
            context=context.captured(),
        )  # fmt: skip
        if moved is not None:
            yield from _entered(machine, moved)
            return moved
        found = yield from _found(machine, id)
        _refuse_illegal(machine, found, event)
        if expected is not None and found.revision != expected:
            raise TransitionConflict(
                f"has revision {found.revision} in {found.state}, not {expected}",
                field=_named(machine, id),
                fix="look at it again: somebody has moved it",
            )
        if found.revision == seen:
            raise IllegalTransition(
                f"stands in {found.state}, which {event} leaves in this code and not in the database",
                field=_named(machine, id),
                fix="client.machines.declare(app), and see that no worker with older code declares it again",
            )
        seen = found.revision
    raise TransitionConflict("is moved by others all the time", field=_named(machine, id), fix="try again later")


def forget(machine: Machine, id: str) -> Op[Entity]:
    """Delete an entity that is in a final state, with its history; as it was. Raises IllegalTransition or
    EntityNotFound."""
    found = yield from _found(machine, id)
    if events := machine.events(found.state):
        raise IllegalTransition(
            f"stands in {found.state}, which isn't final, so it isn't forgotten",
            field=_named(machine, id), fix=f"{', '.join(events)} would leave it",
        )  # fmt: skip
    gone = yield from maybe(FORGET, machine=machine.name, id=id)
    if gone is None:
        raise EntityNotFound("somebody else has forgotten it", field=_named(machine, id))
    return gone


def _guarded(machine: Machine, id: str, event: str, expected: int | None, facts: Facts) -> Op[int]:
    """The revision for which the guard has said yes."""
    found = yield from _found(machine, id)
    _refuse_illegal(machine, found, event)
    guard = machine.table[found.state, event].guard
    name = getattr(guard, "__name__", "its guard")
    try:
        open_ = guard is None or guard(found, _Facts(facts))
    except _Unsaid as unsaid:
        raise GuardRefused(
            f"{event} isn't open now: {name} asks for the fact {unsaid.fact!r}, which wasn't given",
            field=_named(machine, id), fix="give it in facts, or let the guard do without it: the clock gives none",
        ) from None  # fmt: skip
    if not open_:
        raise GuardRefused(
            f"{event} isn't open now: {name} says no", field=_named(machine, id), fix="see what the guard asks for"
        )
    return found.revision if expected is None else expected


def _found(machine: Machine, id: str) -> Op[Entity]:
    found = yield from get(machine.name, id)
    if found is None:
        raise EntityNotFound("there is none", field=_named(machine, id), fix="create it first")
    return found


def _refuse_illegal(machine: Machine, found: Entity, event: str) -> None:
    if (found.state, event) in machine.table:
        return
    events = ", ".join(machine.events(found.state))
    raise IllegalTransition(
        f"stands in {found.state}, which {event} doesn't leave",
        field=_named(machine, found.id),
        fix=f"{events} does" if events else "nothing does: the state is final",
    )


def _asks(machine: Machine, state: str) -> bool:
    """Whether entering the state may enqueue something, which may be refused when the entity has moved."""
    return state in machine.enter or machine.timed(state) is not None


def _entered(machine: Machine, entity: Entity) -> Op[None]:
    """Enqueue what entering the state asks for, and the alarm of the transition that will happen by itself."""
    specs: list[JobSpec] = []
    if (enter := machine.enter.get(entity.state)) is not None:
        specs += _wanted(machine, entity, enter(entity))
    if (timed := machine.timed(entity.state)) is not None:
        words = {"id": entity.id, "event": timed.event, "revision": entity.revision}
        alarm = JobSpec(task=TIMER + machine.name, payload=msgspec.json.encode(words).decode(), queue=machine.queue)
        specs.append(alarm.options(delay=timed.after))
    bound = context.captured()
    if specs:
        yield from enqueue([spec if bound is None else spec.with_context(bound) for spec in specs])


def _wanted(machine: Machine, entity: Entity, answer: object) -> list[JobSpec]:
    """What entering a state asks for, as its function has answered. Raises InvalidMachine."""
    specs: list[JobSpec] = []
    for each in answer if isinstance(answer, Iterable) else [] if answer is None else [answer]:
        if not isinstance(each, JobSpec):
            raise InvalidMachine(
                f"enter of {entity.state} gives {type(each).__name__}",
                field=f"machine {machine.name}",
                fix="give what job(…) of a task returns, several of them, or None",
            )
        specs.append(each)
    return specs


def _named(machine: Machine, id: str) -> str:
    return f"{machine.name} {id}"
