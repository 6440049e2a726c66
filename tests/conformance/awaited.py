"""The asynchronous ways of enqueueing, each on an event loop of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import asyncpg
import psycopg
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from perdure import AsyncClient, JobSpec
from perdure.app.client import AsyncBound
from perdure.jobs.view import Job
from tests.conformance.ways import Way, driver

R = TypeVar("R")


class AsyncWay(Way):
    """An asynchronous one, on an event loop of its own."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        super().__init__(url)

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        return self.runner.run(coroutine)

    def awaited(self) -> AsyncBound:
        raise AssertionError("each way has its own")

    def enqueue(self, job: JobSpec, **options: Any) -> int:
        return self.run(self.awaited().jobs.enqueue(job, **options)).id

    def enqueue_many(self, jobs: Sequence[JobSpec]) -> list[int]:
        return [job.id for job in self.run(self.awaited().jobs.enqueue_many(jobs))]

    def get(self, id: int) -> Job:
        return self.run(self.awaited().jobs.get(id))


class AsyncPsycopg(AsyncWay):
    def open(self) -> None:
        self.conn = self.run(psycopg.AsyncConnection.connect(self.url))

    def awaited(self) -> AsyncBound:
        return AsyncClient(self.url).on(self.conn)

    def write(self, text: str) -> None:
        self.run(self.conn.execute(text.encode()))

    def commit(self) -> None:
        self.run(self.conn.commit())

    def rollback(self) -> None:
        self.run(self.conn.rollback())

    def close(self) -> None:
        self.run(self.conn.close())
        self.runner.close()


class OwnAsyncTransaction(AsyncWay):
    """The asynchronous client's own ``transaction()``."""

    block: AbstractAsyncContextManager[Any]

    def open(self) -> None:
        self.client = AsyncClient(self.url)

    def begin(self) -> None:
        self.block = self.client.transaction()
        self.tx = self.run(self._enter())

    async def _enter(self) -> Any:
        return await self.block.__aenter__()

    def awaited(self) -> AsyncBound:
        found: AsyncBound = self.tx
        return found

    def write(self, text: str) -> None:
        self.run(self.tx.connection.execute(text))

    def commit(self) -> None:
        self.run(self._leave(None))

    def rollback(self) -> None:
        try:
            self.run(self._leave(ZeroDivisionError()))
        except ZeroDivisionError:
            return

    async def _leave(self, error: Exception | None) -> None:
        await self.block.__aexit__(type(error) if error else None, error, None)

    def close(self) -> None:
        self.run(self.client.close())
        self.runner.close()


class Asyncpg(AsyncWay):
    def open(self) -> None:
        self.conn: Any = self.run(asyncpg.connect(self.url))

    def awaited(self) -> AsyncBound:
        found: AsyncBound = AsyncClient(self.url).on(self.conn)
        return found

    def begin(self) -> None:
        self.transaction = self.conn.transaction()
        self.run(self.transaction.start())

    def write(self, text: str) -> None:
        self.run(self.conn.execute(text))

    def commit(self) -> None:
        self.run(self.transaction.commit())

    def rollback(self) -> None:
        self.run(self.transaction.rollback())

    def close(self) -> None:
        self.run(self.conn.close())
        self.runner.close()


class AsyncpgPool(Asyncpg):
    """A connection on loan from asyncpg's pool, with the codec for json that many applications set."""

    def open(self) -> None:
        self.pool = self.run(self._pool())
        self.conn = self.run(self._acquire())

    async def _pool(self) -> asyncpg.Pool[Any]:
        return await asyncpg.create_pool(self.url, min_size=1, max_size=1, init=_with_json)

    async def _acquire(self) -> Any:
        return await self.pool.acquire()

    def close(self) -> None:
        self.run(self._close())
        self.runner.close()

    async def _close(self) -> None:
        await self.pool.release(self.conn)
        await self.pool.close()


class AsyncSqlalchemy(AsyncWay):
    """AsyncSession on a driver."""

    driver = "psycopg"

    def open(self) -> None:
        self.engine = create_async_engine(driver(self.url, self.driver))
        self.owner: Any = self.run(self.make())

    async def make(self) -> Any:
        return AsyncSession(self.engine)

    def awaited(self) -> AsyncBound:
        found: AsyncBound = AsyncClient(self.url).on(self.owner)
        return found

    def write(self, text: str) -> None:
        self.run(self.owner.execute(sqlalchemy.text(text)))

    def commit(self) -> None:
        self.run(self.owner.commit())

    def rollback(self) -> None:
        self.run(self.owner.rollback())

    def close(self) -> None:
        self.run(self.owner.close())
        self.run(self.engine.dispose())
        self.runner.close()


class AsyncSqlalchemyOnAsyncpg(AsyncSqlalchemy):
    driver = "asyncpg"


class AsyncSqlalchemyConnection(AsyncSqlalchemy):
    async def make(self) -> Any:
        return await self.engine.connect()


class AsyncSqlalchemyConnectionOnAsyncpg(AsyncSqlalchemyConnection):
    driver = "asyncpg"


async def _with_json(conn: Any) -> None:
    for kind in ("json", "jsonb"):
        await conn.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
