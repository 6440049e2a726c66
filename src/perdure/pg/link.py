"""A worker's own connection: asyncpg, made again when it breaks, with its time-outs and its plans pinned."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeVar

import asyncpg
import psycopg

from ..core.errors import ConfigError, ConnectionLost, DatabaseError, ServerUnavailable
from ..core.op import Op
from .connect import Purpose, for_pg, refusal
from .drive import apg
from .errors import translate

R = TypeVar("R")
log = logging.getLogger("perdure.link")

PLANS = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_nestloop": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Hot statements find their rows by index whatever the statistics of a queue that was empty a minute ago say, and in
ascending order, which a bitmap scan would not keep. They are planned once: with arrays for parameters Postgres would
plan most of them anew each time, which takes a claim of one job half of its time. The moment of that plan isn't ours,
and may be one when all tables are empty; so what a statement has in hand is joined by hashing, never by nested loops,
whose order would then be a matter of chance, and each statement names the rows that it looks up
(``tests/sql/test_empty_plans.py``)."""


DRIVERS_RAISE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, psycopg.Error)


class Link:
    """One connection for one purpose. Ops are driven one at a time; each statement commits by itself, except in
    ``transaction``. Raises ``core.errors`` classes only. A connection that is gone is always told: by ConnectionLost,
    even when it broke while nobody used it; the use after that connects again.

    A ConfigError (refused login, missing database) is raised by the first connection only: what has worked before is
    waited for, since a name server or a password that is being changed comes back. ``who``: the worker, for the
    session's name.
    """

    def __init__(self, url: str, schema: str, purpose: Purpose, *, who: str = "") -> None:
        self._url, self._schema, self._purpose, self._who = url, schema, purpose, who
        self._conn: Any = None
        self._turn = asyncio.Lock()
        self.connects = 0

    async def run(self, op: Op[R]) -> R:
        """Drive the op; each of its statements is a transaction of its own."""
        async with self._turn:
            conn = await self._connected()
            try:
                return await self._drive(conn, op)
            except ConnectionLost:
                self._drop()
                raise
            except asyncio.CancelledError:
                # The statement may be half sent: the connection is no use, and its outcome is the caller's to find out.
                self._drop()
                raise

    async def transaction(self, op: Op[R]) -> R:
        """Drive the op; its statements commit together, or none does."""
        async with self._turn:
            conn = await self._connected()
            try:
                return await self._together(conn, op)
            except ConnectionLost:
                self._drop()
                raise
            except DatabaseError:
                raise  # it is rolled back
            except (*DRIVERS_RAISE, OSError) as error:
                ours = translate(error)
                self._drop()
                raise ConnectionLost(str(ours)) from error
            except BaseException:
                self._drop()  # whatever it is, the transaction must not stay open for the next op to work in
                raise

    async def connection(self) -> Any:
        """The driver's own connection, for a listener."""
        async with self._turn:
            return await self._connected()

    async def close(self) -> None:
        """Close politely; safe to call twice."""
        conn, self._conn = self._conn, None
        if conn is not None:
            await self._part(conn)

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            self._hang_up(conn)

    async def _connected(self) -> Any:
        if self._conn is not None:
            if not self._closed(self._conn):
                return self._conn
            self._conn = None
            raise ConnectionLost("the server has ended the session")
        try:
            conn = await self._connect()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error) as error:
            ours = refusal(error, self._url)
            if isinstance(ours, DatabaseError) or (isinstance(ours, ConfigError) and not self.connects):
                raise ours from error
            raise ServerUnavailable(ours.message, sqlstate=getattr(error, "sqlstate", None)) from error
        self.connects += 1
        self._conn = conn
        return conn

    # What depends on the driver.

    async def _connect(self) -> Any:
        return await asyncpg.connect(**for_pg(self._url, self._purpose, who=self._who, **PLANS))

    async def _drive(self, conn: Any, op: Op[R]) -> R:
        return await apg(conn, op, self._schema)

    async def _together(self, conn: Any, op: Op[R]) -> R:
        await conn.execute("begin")
        try:
            result = await apg(conn, op, self._schema)
        except DatabaseError:
            if not conn.is_closed():
                await conn.execute("rollback")
            raise
        await conn.execute("commit")
        return result

    def _closed(self, conn: Any) -> bool:
        return bool(conn.is_closed())

    def _hang_up(self, conn: Any) -> None:
        if not conn.is_closed():
            conn.terminate()

    async def _part(self, conn: Any) -> None:
        if not conn.is_closed():
            try:
                await conn.close(timeout=2.0)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                conn.terminate()
