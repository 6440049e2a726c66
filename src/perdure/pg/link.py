"""A worker's own connection: asyncpg, made again when it breaks, with its time-outs and its plans pinned."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeVar

import asyncpg

from ..core.errors import ConfigError, ConnectionLost, DatabaseError, ServerUnavailable
from ..core.op import Op
from .connect import Purpose, for_pg, refusal
from .drive import apg
from .errors import translate

R = TypeVar("R")
log = logging.getLogger("perdure.link")

PLANS = {"enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off"}
"""Hot statements find their rows by index whatever the statistics of a queue that was empty a minute ago say, and in
ascending order, which a bitmap scan would not keep."""


class Link:
    """One connection for one purpose. Ops are driven one at a time; each statement commits by itself, except in
    ``transaction``. Raises ``core.errors`` classes only. A connection that is gone is always told: by ConnectionLost,
    even when it broke while nobody used it; the use after that connects again.

    A ConfigError (refused login, missing database) is raised by the first connection only: what has worked before is
    waited for, since a name server or a password that is being changed comes back.
    """

    def __init__(self, url: str, schema: str, purpose: Purpose) -> None:
        self._url, self._schema = url, schema
        self._settings = for_pg(url, purpose, **PLANS)
        self._conn: asyncpg.Connection[Any] | None = None
        self._turn = asyncio.Lock()
        self.connects = 0

    async def run(self, op: Op[R]) -> R:
        """Drive the op; each of its statements is a transaction of its own."""
        async with self._turn:
            conn = await self._connected()
            try:
                return await apg(conn, op, self._schema)
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
                await conn.execute("begin")
                try:
                    result = await apg(conn, op, self._schema)
                except DatabaseError:
                    if not conn.is_closed():
                        await conn.execute("rollback")
                    raise
                await conn.execute("commit")
                return result
            except ConnectionLost:
                self._drop()
                raise
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                ours = translate(error)
                self._drop()
                raise ConnectionLost(str(ours)) from error
            except BaseException:
                self._drop()  # whatever it is, the transaction must not stay open for the next op to work in
                raise

    async def connection(self) -> asyncpg.Connection[Any]:
        """The raw connection, for a listener."""
        async with self._turn:
            return await self._connected()

    async def close(self) -> None:
        """Close politely; safe to call twice."""
        conn, self._conn = self._conn, None
        if conn is not None and not conn.is_closed():
            try:
                await conn.close(timeout=2.0)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                conn.terminate()

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None and not conn.is_closed():
            conn.terminate()

    async def _connected(self) -> asyncpg.Connection[Any]:
        if self._conn is not None:
            if not self._conn.is_closed():
                return self._conn
            self._conn = None
            raise ConnectionLost("the server has ended the session")
        try:
            conn: asyncpg.Connection[Any] = await asyncpg.connect(**self._settings)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            ours = refusal(error, self._url)
            if isinstance(ours, DatabaseError) or (isinstance(ours, ConfigError) and not self.connects):
                raise ours from error
            raise ServerUnavailable(ours.message, sqlstate=getattr(error, "sqlstate", None)) from error
        self.connects += 1
        self._conn = conn
        return conn
