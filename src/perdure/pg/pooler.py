"""Behind a pooler in transaction mode: sessions whose every transaction may be served by another one of the server's.

Such a session has no state of its own: no settings, no prepared statements, no session locks, no LISTEN. What would be
a setting of the session goes along with every transaction instead, in the same round trip, and ends with it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import AsyncCursor, Cursor
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from ..core.errors import ConnectionLost, InvalidOption
from ..core.op import Row
from ..sql import compiled, statement

VARIABLE: Final = "PERDURE_POOLER"

REFUSED: Final = "unsupported startup parameter"
"""What a pooler says to settings that a session asks for when it begins."""


@dataclass(frozen=True, slots=True)
class Server:
    """Who answers: the process, the database, and since when the server has been up (seconds since 1970)."""

    pid: int
    database: str
    up_since: float


IDENTIFY = statement("session.identify", lambda row: Server(row["pid"], row["database"], row["up_since"]))
BOUND = statement("session.bound", lambda row: float(row["up_since"]))


def declared(environ: Mapping[str, str] = os.environ) -> bool | None:
    """Whether the environment says that the database URL leads to a pooler; None leaves that to be found out.

    Raises InvalidOption.
    """
    said = environ.get(VARIABLE)
    if said not in (None, "", "none", "transaction"):
        raise InvalidOption(
            f"{said!r} is not allowed", field=VARIABLE, fix="say transaction or none; without it, it is found out"
        )
    return None if not said else said == "transaction"


class Terms:
    """The settings of each transaction of a session, and which server has answered it so far."""

    TEXT: Final = compiled(BOUND, "perdure").encode()

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.params = {"names": list(settings), "values": list(settings.values())}
        # For transactions of several statements: it holds no query, so that their owner may still choose the isolation.
        self.local = "; ".join([f"set local {name} = '{value}'" for name, value in settings.items()]).encode()
        self._up_since: bytes | None = None

    def answered(self, cursor: Cursor[Any] | AsyncCursor[Any]) -> None:
        """Raise ConnectionLost when another server has answered than before: it may lack what this session has seen
        committed, and a session of the server's own would have broken."""
        assert cursor.pgresult is not None
        up_since = cursor.pgresult.get_value(0, 1)
        if self._up_since not in (None, up_since):
            raise ConnectionLost("the server behind the pooler has been started anew, or is another one")
        self._up_since = up_since


class _Unflushed(psycopg.Pipeline):
    """A pipeline that ends with its Sync, which makes the server send what it has.

    psycopg sends a Flush after it. PgBouncer (1.18) takes that for the beginning of a transaction when the answer to
    the Sync has passed it already, and waits for its end: the server's session is lost to everybody else.
    """

    def _fetch_gen(self, *, flush: bool) -> PQGen[None]:
        return super()._fetch_gen(flush=False)


class _AsyncUnflushed(psycopg.AsyncPipeline):
    """The same, awaited."""

    def _fetch_gen(self, *, flush: bool) -> PQGen[None]:
        return super()._fetch_gen(flush=False)


class PooledConnection(psycopg.Connection[Any]):
    """A psycopg connection to a pooler, in autocommit mode. ``terms`` are given once it is made."""

    terms: Terms

    def alone(self, text: bytes, params: Mapping[str, object]) -> Sequence[Row]:
        """The rows of a statement that is a transaction of its own. What shares a round trip is one transaction."""
        self._pipeline = _Unflushed(self)
        with Cursor(self) as before, Cursor(self, row_factory=dict_row) as cursor:
            with self.pipeline():
                before.execute(Terms.TEXT, self.terms.params)
                cursor.execute(text, params)
            self.terms.answered(before)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        """As psycopg's; the outermost one is under the bounds."""
        outermost = is_loose(self)
        with super().transaction(savepoint_name, force_rollback) as transaction:
            if outermost:
                self.execute(self.terms.local)
            yield transaction


class AsyncPooledConnection(psycopg.AsyncConnection[Any]):
    """The same, awaited."""

    terms: Terms

    async def alone(self, text: bytes, params: Mapping[str, object]) -> Sequence[Row]:
        """As ``PooledConnection.alone``."""
        self._pipeline = _AsyncUnflushed(self)
        async with AsyncCursor(self) as before, AsyncCursor(self, row_factory=dict_row) as cursor:
            async with self.pipeline():
                await before.execute(Terms.TEXT, self.terms.params)
                await cursor.execute(text, params)
            self.terms.answered(before)
            return await cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """As ``PooledConnection.transaction``."""
        outermost = is_loose(self)
        async with super().transaction(savepoint_name, force_rollback) as transaction:
            if outermost:
                await self.execute(self.terms.local)
            yield transaction


def is_loose(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether each statement on the connection would commit by itself."""
    return conn.autocommit and conn.info.transaction_status == TransactionStatus.IDLE
