"""A machine as it is declared, and its entities as the database knows them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias

from ..core import check, limits
from ..jobs.model import JobSpec
from .errors import InvalidMachine

Facts: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """Where one entity stands. ``revision`` counts its moves. ``event``: of the last one, None before the first.

    ``stuck_at``: when it has stood here for longer than it should; None where that may be for ever.
    """

    machine: str
    id: str
    state: str
    revision: int
    event: str | None
    entered_at: datetime
    stuck_at: datetime | None
    moved_by: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One move of an entity, or its creation, which has neither event nor source."""

    revision: int
    event: str | None
    source: str | None
    target: str
    moved_at: datetime
    moved_by: str | None
    reason: str | None
    context: dict[str, Any]


Guard: TypeAlias = Callable[[Entity, Facts], bool]
"""Whether a transition is open to an entity, given what the mover says of it. It decides, and does no I/O."""

Enter: TypeAlias = Callable[[Entity], JobSpec | Iterable[JobSpec] | None]
"""The jobs that an entity's entering a state asks for, written in the move's own transaction."""


_MERMAID = frozenset((
    "acctitle", "accdescr", "class", "classdef", "click", "default", "direction", "end", "hide", "note", "scale",
    "state", "style",
))  # fmt: skip
"""What a line of a Mermaid state diagram may begin with: no names of states."""


@dataclass(frozen=True, slots=True)
class Transition:
    """From ``source`` (one state, or several) to ``target`` by ``event``.

    ``guard``: whether it is open now. ``after``: it happens by itself when the entity has stood in the source that
    long; an event of a person and one of the clock are the same edge of the same table.
    """

    event: str
    source: str | Sequence[str]
    target: str
    guard: Guard | None = None
    after: timedelta | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Its sources, one or several."""
        return (self.source,) if isinstance(self.source, str) else tuple(self.source)


@dataclass(frozen=True, slots=True, init=False)
class Machine:
    """An explicit table of transitions. ``App.machine`` declares it.

    ``initial``: the state in which an entity begins. ``enter``: by state, what entering it enqueues. ``stuck_after``:
    by state, how long an entity may stand there before it counts as stuck. ``queue``: of the jobs that make timed
    transitions. A state that no transition leaves is final. Raises InvalidMachine, naming the state or event.
    """

    name: str
    initial: str
    transitions: tuple[Transition, ...]
    enter: Mapping[str, Enter]
    stuck_after: Mapping[str, timedelta]
    queue: str
    table: Mapping[tuple[str, str], Transition] = field(repr=False)
    """By source and event."""

    def __init__(
        self,
        name: str,
        *,
        initial: str,
        transitions: Iterable[Transition],
        enter: Mapping[str, Enter] | None = None,
        stuck_after: Mapping[str, timedelta] | None = None,
        queue: str = "default",
    ) -> None:
        keep = object.__setattr__
        keep(self, "name", check.name("name", name, limits.MACHINE_NAME_CHARS_MAX))
        keep(self, "initial", check.name("initial", initial, limits.STATE_CHARS_MAX))
        keep(self, "transitions", tuple(transitions))
        keep(self, "enter", MappingProxyType(dict(enter or {})))
        keep(self, "stuck_after", MappingProxyType(dict(stuck_after or {})))
        keep(self, "queue", check.name("queue", queue, limits.QUEUE_NAME_CHARS_MAX))
        keep(self, "table", MappingProxyType(_table(self)))
        _check_sound(self)

    @property
    def states(self) -> tuple[str, ...]:
        """Every state, in the order in which they are named, the initial one first."""
        named = [each for transition in self.transitions for each in (*transition.sources, transition.target)]
        return tuple(dict.fromkeys([self.initial, *named]))

    @property
    def final(self) -> tuple[str, ...]:
        """The states that nothing leaves."""
        left = {source for source, _ in self.table}
        return tuple(state for state in self.states if state not in left)

    def events(self, state: str) -> tuple[str, ...]:
        """The events that leave a state."""
        return tuple(event for source, event in self.table if source == state)

    def timed(self, state: str) -> Transition | None:
        """The transition that happens by itself, after a time in that state."""
        found = (each for (source, _), each in self.table.items() if source == state and each.after is not None)
        return next(found, None)

    def mermaid(self) -> str:
        """The machine as a Mermaid state diagram."""
        known = {state: state if _plain(state) else f"_{place}" for place, state in enumerate(self.states)}
        lines = [f'    state "{state}" as {drawn}' for state, drawn in known.items() if state != drawn]
        lines.append(f"    [*] --> {known[self.initial]}")
        for transition in self.transitions:
            said = transition.event + (" [guarded]" if transition.guard else "")
            said += f" after {_lasting(transition.after)}" if transition.after else ""
            lines += [f"    {known[source]} --> {known[transition.target]}: {said}" for source in transition.sources]
        return "\n".join(["stateDiagram-v2", *lines, *(f"    {known[state]} --> [*]" for state in self.final)])


def _plain(state: str) -> bool:
    """Whether Mermaid takes the state's name as it is: it takes no hyphen, and none of its own words.
    Another one is drawn under an id that no state can have: names don't begin with an underscore."""
    return re.fullmatch(r"\w+", state) is not None and state.lower() not in _MERMAID


def _lasting(time: timedelta) -> str:
    """A time in words, without the colons that older versions of Mermaid end a label at."""
    hours, rest = divmod(time - timedelta(time.days), timedelta(hours=1))
    minutes, rest = divmod(rest, timedelta(minutes=1))
    parts = {"d": time.days, "h": hours, "min": minutes, "s": rest.total_seconds()}
    return " ".join(f"{count:g} {unit}" for unit, count in parts.items() if count)


def _table(machine: Machine) -> dict[tuple[str, str], Transition]:
    table: dict[tuple[str, str], Transition] = {}
    for transition in machine.transitions:
        check.name("event", transition.event, limits.STATE_CHARS_MAX)
        if transition.after is not None and transition.after <= timedelta(0):
            raise _invalid(machine.name, f"{transition.event} happens after no time", "give `after` more than 0")
        for state in (*transition.sources, transition.target):
            check.name("state", state, limits.STATE_CHARS_MAX)
        for source in transition.sources:
            if (source, transition.event) in table:
                problem = f"{transition.event} leaves {source} twice"
                raise _invalid(machine.name, problem, "an event leads from a state to one other")
            table[source, transition.event] = transition
    return table


def _check_sound(machine: Machine) -> None:
    if not machine.table:
        raise _invalid(machine.name, "has no transition", "give one at least: what never moves is no machine")
    if machine.initial not in {state for each in machine.transitions for state in (*each.sources, each.target)}:
        raise _invalid(machine.name, f"initial is {machine.initial}, which no transition names", "correct the name")
    reached, fresh = {machine.initial}, {machine.initial}
    while fresh:
        fresh = {each.target for (source, _), each in machine.table.items() if source in fresh} - reached
        reached |= fresh
    if lost := [state for state in machine.states if state not in reached]:
        raise _invalid(machine.name, f"nothing leads to {', '.join(lost)}", "add a transition to it, or take it out")
    asked = [(f"the guard of {each.event}", each.guard) for each in machine.transitions]
    for what, function in [*asked, *((f"enter of {state}", each) for state, each in machine.enter.items())]:
        if function is not None and not callable(function):
            raise _invalid(machine.name, f"{what} is {function!r}, which can't be called", "give a function")
        if inspect.iscoroutinefunction(function):
            raise _invalid(machine.name, f"{what} is async", "give a plain function: it decides, and does no I/O")
    for what, states in (("enter", machine.enter), ("stuck_after", machine.stuck_after)):
        if unknown := [state for state in states if state not in machine.states]:
            raise _invalid(machine.name, f"{what} names {', '.join(unknown)}, which is no state", "correct the name")
    if ended := [state for state in machine.stuck_after if state in machine.final]:
        problem = f"stuck_after names {', '.join(ended)}, which nothing leaves"
        raise _invalid(machine.name, problem, "take it out: what has come to its end isn't stuck")
    for state in machine.states:
        timed = [event for (source, event), each in machine.table.items() if source == state and each.after is not None]
        if len(timed) > 1:
            problem = f"{state} is left by {' and '.join(timed)}, each after a time"
            raise _invalid(machine.name, problem, "keep one of them: the sooner one always wins")


def _invalid(machine: str, problem: str, fix: str) -> InvalidMachine:
    return InvalidMachine(problem, field=f"machine {machine}", fix=fix)
