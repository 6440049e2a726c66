"""Look at entities: where they stand, how they came there, and which are stuck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ...core.op import Op, Row, maybe, rows
from ...sql import statement
from ..model import Entity, Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How many entities of a machine stand in a state, and how many of them for too long."""

    machine: str
    state: str
    initial: bool
    entities: int
    stuck: int


def entity(row: Row) -> Entity:
    """The entity of a row."""
    return Entity(**row)


def _moved(row: Row) -> Moved:
    values: dict[str, Any] = {**row, "context": msgspec.json.decode(row["context"]) if row["context"] else {}}
    return Moved(**values)


GET = statement("machines.get", entity)
LIST = statement("machines.list", entity)
LIST_STUCK = statement("machines.list_stuck", entity)
HISTORY = statement("machines.history", _moved)
COUNTS = statement("machines.counts", lambda row: Standing(**row))


def get(machine: str, id: str) -> Op[Entity | None]:
    """Where an entity stands."""
    return (yield from maybe(GET, machine=machine, id=id))


def list_entities(machine: str, state: str, cursor: str | None, limit: int) -> Op[list[Entity]]:
    """Entities in a state, by id."""
    return (yield from rows(LIST, machine=machine, state=state, cursor=cursor, limit=limit))


def stuck(machine: str | None, limit: int) -> Op[list[Entity]]:
    """Entities that have stood in their state for too long, of one machine or all."""
    return (yield from rows(LIST_STUCK, machine=machine, limit=limit))


def history(machine: str, id: str) -> Op[list[Moved]]:
    """Every move of an entity, its creation first."""
    return (yield from rows(HISTORY, machine=machine, id=id))


def counts() -> Op[list[Standing]]:
    """Every state of every machine."""
    return (yield from rows(COUNTS))
