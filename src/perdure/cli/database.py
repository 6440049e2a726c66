"""The database a command talks to: found, waited for, checked, and driven."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from ..core.op import Op
from ..pg.connect import connect, wait_for_server
from ..pg.drive import drive
from ..pg.migrate import check, checked_schema
from ..pg.url import resolve
from .show import say

R = TypeVar("R")

WAIT_SECONDS = 10.0
"""How long a command waits for a server that doesn't answer. A worker waits for ever."""


@dataclass(frozen=True, slots=True)
class Database:
    """A connection in autocommit mode, and the schema on it."""

    conn: psycopg.Connection[Any]
    schema: str
    url: str

    def ask(self, op: Op[R]) -> R:
        """Drive the op; each of its statements commits by itself."""
        return drive(self.conn, op, self.schema)

    def change(self, op: Op[R]) -> R:
        """Drive the op in one transaction."""
        with self.conn.transaction():
            return drive(self.conn, op, self.schema)


@contextmanager
def opened(
    url: str | None, schema: str, *, wait: float | None = WAIT_SECONDS, checked: bool = True
) -> Iterator[Database]:
    """The database of this URL (else of the environment, else the embedded one), for the length of a command.

    ``wait``: seconds for a server that doesn't answer, None for ever. ``checked``: the schema must fit this code.
    Raises what ``resolve``, ``wait_for_server`` and ``check`` raise.
    """
    checked_schema(schema)
    address = resolve(url, say=say)
    wait_for_server(address, say, wait)
    with connect(address) as conn:
        if checked:
            check(conn, schema=schema)
        yield Database(conn, schema, address)
