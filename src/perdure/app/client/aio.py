"""``AsyncClient``: the nouns, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from ...core.errors import Unsupported
from ...core.op import Op
from ...jobs.model import JobSpec
from ...jobs.ops.enqueue import enqueue
from ...pg.connect import Purpose
from ...pg.drive import adrive
from ...pg.migrate import checked_schema
from ...pg.pooler import AsyncPooledConnection
from ...pg.url import checked
from . import opening
from .bound import AsyncBound, AsyncTransaction, Lender
from .gather import AsyncGathering

R = TypeVar("R")


class AsyncClient(AsyncBound, Lender):
    """Perdure, awaited on one event loop; otherwise as ``Client``."""

    def __init__(self, url: str | None = None, *, schema: str = "perdure") -> None:
        Lender.__init__(self, checked_schema(schema))
        self._pooled = Pooled(None if url is None else checked(url), schema)
        AsyncBound.__init__(self, self._pooled)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncTransaction]:
        """As ``Client.transaction``."""
        async with self._pooled.connection() as conn, conn.transaction():
            yield AsyncTransaction(conn, self._schema)

    async def close(self) -> None:
        """As ``Client.close``."""
        await self._pooled.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Pooled:
    """Ops on connections of its own, which are opened for ``purpose``: each in a transaction of its own."""

    waits = True

    def __init__(self, url: str | None, schema: str, purpose: Purpose = "app") -> None:
        self._url, self._schema, self._purpose = url, schema, purpose
        self._opening: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None
        self._closed = False
        self._gathering = AsyncGathering(self._write)
        self.enqueue = self._gathering.enqueue

    async def ask(self, op: Op[R]) -> R:
        """Drive the op; each of its statements commits by itself."""
        async with self.connection() as conn:
            return await adrive(conn, op, self._schema)

    async def change(self, op: Op[R]) -> R:
        """Drive the op in one transaction."""
        async with self.connection() as conn, conn.transaction():
            return await adrive(conn, op, self._schema)

    def refuse_wait(self) -> None:
        """Waiting is fine here."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection in autocommit mode."""
        pool = await self._opened()
        try:
            conn = await pool.getconn()
        except PoolClosed:
            raise opening.closed() from None
        except (PoolTimeout, TooManyRequests) as error:
            raise opening.unavailable(error) from error
        try:
            yield conn
        finally:
            await pool.putconn(conn)

    async def close(self) -> None:
        """Write what was asked for, then close the connections."""
        await self._gathering.idle()
        self._closed = True
        if self._pool is not None:
            await self._pool.close()

    async def _write(self, specs: Sequence[JobSpec]) -> list[int]:
        return await self.ask(enqueue(specs))

    async def _opened(self) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, self._opening = loop, asyncio.Lock()
        if self._loop is not loop:
            raise Unsupported(
                "is in use on another event loop", field="client", fix="make one AsyncClient for each event loop"
            )
        if self._pool is not None and not self._closed:
            return self._pool
        assert self._opening is not None
        async with self._opening:
            if self._closed:
                raise opening.closed()
            if self._pool is None:
                url, pooled = await asyncio.to_thread(opening.find, self._url, self._schema)
                settings = opening.pool_settings(url, self._purpose, pooled)
                if pooled:
                    settings |= {"connection_class": AsyncPooledConnection, "configure": opening.abind(self._purpose)}
                pool = AsyncConnectionPool(**settings, check=_check)
                await pool.open()
                self._pool = pool
            return self._pool


async def _check(conn: psycopg.AsyncConnection[Any]) -> None:
    if opening.may_be_broken(conn.fileno()):
        await AsyncConnectionPool.check_connection(conn)
