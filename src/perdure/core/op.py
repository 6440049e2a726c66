"""An Op is a conversation with Postgres: it yields Calls and is sent rows. It never waits.

Because it never waits it has no colour: the synchronous client, the asynchronous client, the worker, a test that
plays rows by hand and the simulator all drive the same generator. An op never begins or commits a transaction; the
connection it is driven on decides that. An error is thrown into the op (as one of ``core.errors``), so an op may
answer one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Statement(Generic[T]):
    """One SQL statement from ``sql/statements``: its dotted name, its text, and how one of its rows is read."""

    name: str
    text: str
    read: Callable[[Row], T]


@dataclass(frozen=True, slots=True)
class Call:
    """A statement and the values of its ``%(name)s`` parameters."""

    statement: Statement[Any]
    params: Mapping[str, object]


Op = Generator[Call, Sequence[Row], R]


def rows(statement: Statement[T], **params: object) -> Op[list[T]]:
    """Every row of the statement, read."""
    found = yield Call(statement, params)
    return [statement.read(row) for row in found]


def one(statement: Statement[T], **params: object) -> Op[T]:
    """The single row of a statement that always returns exactly one."""
    found = yield Call(statement, params)
    if len(found) != 1:
        raise AssertionError(f"{statement.name} returned {len(found)} rows where exactly one was promised")
    return statement.read(found[0])


def maybe(statement: Statement[T], **params: object) -> Op[T | None]:
    """The row of a statement that returns one or none."""
    found = yield Call(statement, params)
    if len(found) > 1:
        raise AssertionError(f"{statement.name} returned {len(found)} rows where at most one was promised")
    return statement.read(found[0]) if found else None


def thin(column: list[T | None]) -> list[T | None]:
    """A column of parameters for ``unnest``, or an empty one for nothing but None, which reads the same there: an array
    costs a driver a look at each of its values."""
    return [] if column.count(None) == len(column) else column


def alike(column: list[T]) -> list[T]:
    """A column of parameters for ``unnest``, or one value for nothing but that one, which is null there from the second
    row on: the statement takes the first instead."""
    return column[:1] if column.count(column[0]) == len(column) else column
