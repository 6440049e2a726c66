"""``AsyncClient``: the nouns, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from ...core import limits
from ...core.errors import ConnectionLost, OutcomeUnknown, RolledBack, ServerUnavailable, TransientError, Unsupported
from ...core.op import Op
from ...jobs.model import JobSpec
from ...jobs.ops.enqueue import enqueue
from ...pg.connect import Purpose
from ...pg.drive import adrive
from ...pg.migrate import checked_schema
from ...pg.outcome import Witness, committed, witness
from ...pg.pooler import AsyncPooledConnection
from ...pg.url import checked
from ...runtime.clock import monotonic
from ...runtime.dice import jittered, roll
from . import forks, opening
from .bound import AsyncBound, AsyncTransaction, Lender, lent
from .ending import OUTCOME_PAUSE_SECONDS, Isolation, atransacting, awaited, refuse_failed, runnable, unknown
from .gather import AsyncGathering
from .pools import AsyncPool
from .replay import Contention, Replay

P = ParamSpec("P")
R = TypeVar("R")


class AsyncClient(AsyncBound, Lender):
    """Perdure, awaited on one event loop; otherwise as ``Client``."""

    def __init__(self, url: str | None = None, *, schema: str = "perdure") -> None:
        Lender.__init__(self, checked_schema(schema))
        self._pooled = Pooled(None if url is None else checked(url), schema)
        self._contention = Contention()
        AsyncBound.__init__(self, self._pooled)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncTransaction]:
        """As ``Client.transaction``."""
        async with self._pooled.transaction() as conn:
            with lent(AsyncTransaction(conn, self._schema)) as tx:
                yield tx

    async def run(
        self,
        function: Callable[[AsyncTransaction], Awaitable[R]],
        *,
        attempts: int = limits.REPLAYS_DEFAULT,
        isolation: Isolation | None = None,
    ) -> R:
        """As ``Client.run``."""
        runnable(function)
        replay = Replay(attempts, self._contention)
        while True:
            try:
                return await self._attempt(function, isolation)
            except Exception as error:
                pause = replay.pause(error, roll())
            await asyncio.sleep(pause)

    @property
    def contention(self) -> Mapping[str, int]:
        """As ``Client.contention``."""
        return dict(self._contention.counts)

    async def close(self) -> None:
        """As ``Client.close``."""
        await self._pooled.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _attempt(self, function: Callable[[AsyncTransaction], Awaitable[R]], isolation: Isolation | None) -> R:
        known: Witness | None = None
        try:
            async with self._pooled.transaction(isolation) as conn:
                with lent(AsyncTransaction(conn, self._schema)) as tx:
                    result = await awaited(function(tx))
                refuse_failed(conn)
                try:
                    known = await adrive(conn, witness(), self._schema)
                except ConnectionLost as error:
                    raise RolledBack("the connection broke before the commit") from error
        except OutcomeUnknown as error:
            if known is None:
                raise  # of something else that the function has done
            if known.xid is not None and not await self._committed(known, error):
                raise RolledBack("the connection broke, and the server has rolled it back") from error
        return result

    async def _committed(self, known: Witness, error: OutcomeUnknown) -> bool:
        """Ask until it is known. Raises OutcomeUnknown."""
        deadline = monotonic() + limits.OUTCOME_SECONDS
        while True:
            with suppress(TransientError):
                if (found := await self._pooled.ask(committed(known))) is not None:
                    return found
            if monotonic() > deadline:
                raise error
            await asyncio.sleep(jittered(OUTCOME_PAUSE_SECONDS))


class Pooled:
    """Ops on connections of its own, which are opened for ``purpose``: each in a transaction of its own."""

    waits = True

    def __init__(
        self,
        url: str | None,
        schema: str,
        purpose: Purpose = "app",
        connections: int = opening.CONNECTIONS_MAX,
    ) -> None:
        self._url, self._schema, self._purpose, self._connections = url, schema, purpose, connections
        self._closed = False
        self._begin()
        forks.watch(self)

    def _begin(self) -> None:
        self._opening: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: AsyncPool | None = None
        self._gathering = AsyncGathering(self._write)
        self.enqueue = self._gathering.enqueue

    async def ask(self, op: Op[R]) -> R:
        """Drive the op; each of its statements commits by itself."""
        async with self.connection() as conn:
            try:
                return await adrive(conn, op, self._schema)
            except ConnectionLost as error:
                raise unknown(error) from error

    async def look(self, ask: Callable[P, Op[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Drive an op that only reads; again on another connection when one breaks under it. Raises ConnectionLost when
        the second one breaks, too: nothing was to be committed, so nothing of it is unknown."""
        try:
            async with self.connection() as conn:
                return await adrive(conn, ask(*args, **kwargs), self._schema)
        except ConnectionLost:
            async with self.connection() as conn:
                return await adrive(conn, ask(*args, **kwargs), self._schema)

    async def change(self, op: Op[R]) -> R:
        """Drive the op in one transaction."""
        async with self.transaction() as conn:
            return await adrive(conn, op, self._schema)

    @asynccontextmanager
    async def transaction(self, isolation: Isolation | None = None) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection in a transaction, which commits when the block ends."""
        async with self.connection() as conn, atransacting(conn, isolation):
            yield conn

    def refuse_wait(self) -> None:
        """Waiting is fine here."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection in autocommit mode."""
        try:
            pool = await self._opened()
            conn = await pool.take()
        except PoolClosed:
            raise opening.closed() from None
        except (PoolTimeout, TooManyRequests, ServerUnavailable) as error:
            raise opening.unavailable(error, self._connections, self._purpose) from error
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

    def leave(self) -> object:
        """As the synchronous one's."""
        left = self._pool, self._loop, self._gathering
        self._begin()
        return left

    async def _write(self, specs: Sequence[JobSpec]) -> list[int]:
        return await self.ask(enqueue(specs))

    async def _opened(self) -> AsyncPool:
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
                settings = opening.pool_settings(url, self._purpose, pooled, self._connections)
                if pooled:
                    settings |= {"connection_class": AsyncPooledConnection, "configure": opening.abind(self._purpose)}
                pool = AsyncPool(**settings)
                # Its tasks outlive the job whose handler was the first to ask, and their log lines aren't about that.
                await loop.create_task(pool.open(), context=Context())
                self._pool = pool
            return self._pool
