"""The noun ``machines``: declare, create, move, forget, get, list, history, stuck, counts."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Protocol

from ...core import check, limits
from ...core.errors import InvalidOption
from ...core.op import Op
from ...machines.errors import EntityNotFound
from ...machines.model import Entity, Facts, Machine, Moved
from ...machines.ops import declare, move, read
from ...machines.ops.read import Standing
from . import verbs
from .runs import AsyncRuns, Runs


class Declaring(Protocol):
    """An app, as far as its machines are concerned."""

    @property
    def machines(self) -> Mapping[str, Machine]: ...  # noqa: D102


def _checked(machine: object, id: object, by: object = None, reason: object = None) -> None:
    if not isinstance(machine, Machine):
        raise InvalidOption(f"got {type(machine).__name__}", field="machine", fix="give the Machine that was declared")
    check.text("id", id, limits.KEY_CHARS_MAX)
    for option, value, most in (("by", by, limits.KEY_CHARS_MAX), ("reason", reason, limits.REASON_CHARS_MAX)):
        if value is not None:
            check.text(option, value, most)


def _create(machine: Machine, id: str, by: str | None, reason: str | None) -> Op[Entity]:
    _checked(machine, id, by, reason)
    return (yield from move.create(machine, id, by=by, reason=reason))


def _move(
    machine: Machine, id: str, event: str, expected: int | None, facts: Facts | None, by: str | None, reason: str | None
) -> Op[Entity]:
    _checked(machine, id, by, reason)
    check.text("event", event, limits.STATE_CHARS_MAX)
    return (yield from move.move(machine, id, event, expected=expected, facts=facts, by=by, reason=reason))


def _forget(machine: Machine, id: str) -> Op[Entity]:
    _checked(machine, id)
    return (yield from move.forget(machine, id))


def _get(machine: Machine, id: str) -> Op[Entity]:
    _checked(machine, id)
    found = yield from read.get(machine.name, id)
    if found is None:
        raise EntityNotFound("there is none", field=f"{machine.name} {id}", fix="create it first")
    return found


def _list(machine: Machine, state: str, cursor: str | None, limit: int) -> Op[list[Entity]]:
    if state not in machine.states:
        raise InvalidOption(f"{state!r} is no state", field="state", fix=f"give one of {', '.join(machine.states)}")
    return (yield from read.list_entities(machine.name, state, cursor, verbs.page_limit(limit)))


def _history(machine: Machine, id: str) -> Op[list[Moved]]:
    _checked(machine, id)
    return (yield from read.history(machine.name, id))


def _stuck(machine: Machine | None, limit: int) -> Op[list[Entity]]:
    return (yield from read.stuck(machine.name if machine is not None else None, verbs.page_limit(limit)))


class Machines:
    """State machines of the application's entities, in the transaction of whoever gave this noun."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def declare(self, app: Declaring) -> None:
        """Write the app's machines to the database, as its workers do when they start: from now on they bind everybody.

        Raises InvalidMachine when entities stand in a state that a machine doesn't declare any more.
        """
        self._runs.change(declare.declare(list(verbs.declaring(app, "machines").machines.values())))

    def create(self, machine: Machine, id: str, *, by: str | None = None, reason: str | None = None) -> Entity:
        """Begin an entity in the machine's initial state. Raises EntityExists, or EntityNotFound for a machine that
        isn't declared in the database.
        """
        return self._runs.change(_create(machine, id, by, reason))

    def move(
        self,
        machine: Machine,
        id: str,
        event: str,
        *,
        expected: int | None = None,
        facts: Facts | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> Entity:
        """Move an entity by an event; where it stands then. What entering that state asks for is enqueued with it.

        ``expected``: the revision it must have, as ``get`` has shown it. ``facts``: what guards may know. ``by`` and
        ``reason`` are kept in its history. Raises IllegalTransition, GuardRefused, TransitionConflict or
        EntityNotFound; then nothing was written.
        """
        return self._runs.change(_move(machine, id, event, expected, facts, by, reason))

    def forget(self, machine: Machine, id: str) -> Entity:
        """Delete an entity that has come to a final state, with its history; where it stood. Its id is free then.
        Raises EntityNotFound, or IllegalTransition while something still leaves its state.
        """
        return self._runs.change(_forget(machine, id))

    def get(self, machine: Machine, id: str) -> Entity:
        """Where an entity stands. Raises EntityNotFound."""
        return self._runs.look(_get, machine, id)

    def list(
        self, machine: Machine, state: str, *, cursor: str | None = None, limit: int = verbs.PAGE_ROWS_DEFAULT
    ) -> builtins.list[Entity]:
        """Entities in a state, by id; ``cursor`` is the id of the last one seen. Raises InvalidOption."""
        return self._runs.look(_list, machine, state, cursor, limit)

    def history(self, machine: Machine, id: str) -> builtins.list[Moved]:
        """Every move of an entity, its creation first."""
        return self._runs.look(_history, machine, id)

    def stuck(self, machine: Machine | None = None, *, limit: int = verbs.PAGE_ROWS_DEFAULT) -> builtins.list[Entity]:
        """Entities that have stood in their state for longer than they should, of one machine or all, longest first."""
        return self._runs.look(_stuck, machine, limit)

    def counts(self) -> builtins.list[Standing]:
        """Every state of every declared machine, and how many entities stand there."""
        return self._runs.look(read.counts)


class AsyncMachines:
    """Machines, awaited."""

    def __init__(self, runs: AsyncRuns) -> None:
        self._runs = runs

    async def declare(self, app: Declaring) -> None:
        """As ``Machines.declare``."""
        await self._runs.change(declare.declare(list(verbs.declaring(app, "machines").machines.values())))

    async def create(self, machine: Machine, id: str, *, by: str | None = None, reason: str | None = None) -> Entity:
        """As ``Machines.create``."""
        return await self._runs.change(_create(machine, id, by, reason))

    async def move(
        self,
        machine: Machine,
        id: str,
        event: str,
        *,
        expected: int | None = None,
        facts: Facts | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> Entity:
        """As ``Machines.move``."""
        return await self._runs.change(_move(machine, id, event, expected, facts, by, reason))

    async def forget(self, machine: Machine, id: str) -> Entity:
        """As ``Machines.forget``."""
        return await self._runs.change(_forget(machine, id))

    async def get(self, machine: Machine, id: str) -> Entity:
        """As ``Machines.get``."""
        return await self._runs.look(_get, machine, id)

    async def list(
        self, machine: Machine, state: str, *, cursor: str | None = None, limit: int = verbs.PAGE_ROWS_DEFAULT
    ) -> builtins.list[Entity]:
        """As ``Machines.list``."""
        return await self._runs.look(_list, machine, state, cursor, limit)

    async def history(self, machine: Machine, id: str) -> builtins.list[Moved]:
        """As ``Machines.history``."""
        return await self._runs.look(_history, machine, id)

    async def stuck(
        self, machine: Machine | None = None, *, limit: int = verbs.PAGE_ROWS_DEFAULT
    ) -> builtins.list[Entity]:
        """As ``Machines.stuck``."""
        return await self._runs.look(_stuck, machine, limit)

    async def counts(self) -> builtins.list[Standing]:
        """As ``Machines.counts``."""
        return await self._runs.look(read.counts)
