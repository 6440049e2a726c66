"""Where a demonstration takes place: a schema of its own, empty at the start, left to be looked at afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from ..core.errors import Unsupported
from ..core.op import Op
from ..fleet.model import Worker
from ..fleet.ops.workers import list_workers
from ..pg.connect import connect, wait_for_server
from ..pg.drive import drive
from ..pg.migrate import migrate
from . import ops

R = TypeVar("R")

SCHEMA = "perdure_demo"
"""No other schema is ever touched."""

WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Ground:
    """A connection in autocommit mode, and the server it leads to."""

    conn: psycopg.Connection[Any]
    url: str

    @property
    def version(self) -> str:
        """The server's version, as "18.1"."""
        return (self.conn.info.parameter_status("server_version") or "").split()[0]

    def ask(self, op: Op[R]) -> R:
        """Drive the op; inside ``conn.transaction()`` its statements belong to that."""
        return drive(self.conn, op, SCHEMA)

    def workers(self) -> list[Worker]:
        """The workers' rows."""
        return self.ask(list_workers())


@contextmanager
def prepared(url: str, say: Callable[[str], None]) -> Iterator[Ground]:
    """The demonstration's schema at this address, made anew and migrated.

    Raises Unsupported while another demonstration runs there, and what ``wait_for_server`` and ``migrate`` raise.
    """
    wait_for_server(url, say, WAIT_SECONDS)
    with connect(url, "migration") as conn:
        ground = Ground(conn, url)
        if not ground.ask(ops.alone()):
            raise Unsupported("another demonstration is running there", field=f"schema {SCHEMA}", fix="let it finish")
        ground.ask(ops.drop_schema())
        migrate(conn, schema=SCHEMA)
        yield ground
