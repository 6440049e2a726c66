"""A worker's own connection to a pooler: psycopg, which sends a statement and the settings of its transaction in one
round trip. asyncpg, much the faster one for a session of its own, would need five."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg

from ..core.errors import ConnectionLost
from ..core.op import Op
from .connect import BOUNDS, SILENT_SECONDS, bounds, for_pooler
from .drive import adrive
from .link import PLANS, Link
from .pooler import AsyncPooledConnection, Terms

R = TypeVar("R")


class PooledLink(Link):
    """As ``Link``, through a pooler. Another server than before behind it is a ConnectionLost, too."""

    async def _connect(self) -> AsyncPooledConnection:
        settings = for_pooler(self._url, self._purpose, who=self._who)
        conn = await AsyncPooledConnection.connect(**settings, autocommit=True)
        assert isinstance(conn, AsyncPooledConnection)
        conn.terms = Terms({**bounds(self._purpose), **PLANS})
        return conn

    async def _drive(self, conn: Any, op: Op[R]) -> R:
        async with self._patience():
            return await adrive(conn, op, self._schema)

    async def _together(self, conn: Any, op: Op[R]) -> R:
        async with self._patience(), conn.transaction():
            return await adrive(conn, op, self._schema)

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        """A server that answers ends a statement by itself; this is for one that has vanished behind its wire."""
        seconds = BOUNDS[self._purpose].statement_ms / 1_000 + SILENT_SECONDS
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise ConnectionLost(f"no answer within {seconds:g} s") from error

    def _closed(self, conn: Any) -> bool:
        return bool(conn.closed)

    def _hang_up(self, conn: Any) -> None:
        conn.pgconn.finish()  # at once and without a word, whatever is under way

    async def _part(self, conn: Any) -> None:
        try:
            await conn.close()
        except psycopg.Error:
            conn.pgconn.finish()
