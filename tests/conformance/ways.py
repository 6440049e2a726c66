"""Every way of enqueueing in a transaction of one's own, under one face: begin, write, enqueue, commit or roll back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import asyncpg
import django
import psycopg
import sqlalchemy
from django.conf import settings
from django.db import connections, transaction
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from perdure import AsyncClient, Client, JobSpec
from perdure.app.client import AsyncBound, Bound
from perdure.jobs.view import Job

R = TypeVar("R")


class Way:
    """One connection or session of an application. ``write`` is the application's own statement in its transaction."""

    one_statement = True
    """Whether many jobs are one statement."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.open()

    def open(self) -> None: ...
    def close(self) -> None: ...
    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def write(self, text: str) -> None: ...

    def nouns(self) -> Bound:
        raise AssertionError("each way has its own")

    def enqueue(self, job: JobSpec, **options: Any) -> int:
        return self.nouns().jobs.enqueue(job, **options).id

    def enqueue_many(self, jobs: Sequence[JobSpec]) -> list[int]:
        return [job.id for job in self.nouns().jobs.enqueue_many(jobs)]

    def get(self, id: int) -> Job:
        return self.nouns().jobs.get(id)


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


class Psycopg(Way):
    def open(self) -> None:
        self.conn = psycopg.connect(self.url)

    def nouns(self) -> Bound:
        return Client(self.url).on(self.conn)

    def write(self, text: str) -> None:
        self.conn.execute(text.encode())

    def commit(self) -> None:
        self.conn.commit()

    def rollback(self) -> None:
        self.conn.rollback()

    def close(self) -> None:
        self.conn.close()


class Sql(Psycopg):
    """enqueue_v1, called as any language would."""

    one_statement = False

    def enqueue(self, job: JobSpec, **options: Any) -> int:
        return enqueue_v1(self.conn, **arguments(job.options(**options)))

    def enqueue_many(self, jobs: Sequence[JobSpec]) -> list[int]:
        return [self.enqueue(job) for job in jobs]


class OwnTransaction(Way):
    """The client's own ``transaction()``."""

    block: AbstractContextManager[Any]

    def open(self) -> None:
        self.client = Client(self.url)

    def begin(self) -> None:
        self.block = self.client.transaction()
        self.tx = self.block.__enter__()

    def nouns(self) -> Bound:
        found: Bound = self.tx
        return found

    def write(self, text: str) -> None:
        self.tx.connection.execute(text)

    def commit(self) -> None:
        self.block.__exit__(None, None, None)

    def rollback(self) -> None:
        roll_back(self.block)

    def close(self) -> None:
        self.client.close()


class SqlalchemySession(Way):
    def open(self) -> None:
        self.engine = sqlalchemy.create_engine(driver(self.url, "psycopg"))
        self.owner: Any = self.make()

    def make(self) -> Any:
        return Session(self.engine)

    def nouns(self) -> Bound:
        found: Bound = Client(self.url).on(self.owner)
        return found

    def write(self, text: str) -> None:
        self.owner.execute(sqlalchemy.text(text))

    def commit(self) -> None:
        self.owner.commit()

    def rollback(self) -> None:
        self.owner.rollback()

    def close(self) -> None:
        self.owner.close()
        self.engine.dispose()


class SqlalchemyConnection(SqlalchemySession):
    def make(self) -> Any:
        return self.engine.connect()


class Django(Way):
    """``connections[alias]`` inside ``atomic``."""

    numbers = count()

    def open(self) -> None:
        if not settings.configured:
            settings.configure(USE_TZ=True, DATABASES={})
            django.setup()
        found = conninfo_to_dict(self.url)
        self.alias = f"way{next(self.numbers)}"
        options = {"ENGINE": "django.db.backends.postgresql", "NAME": found["dbname"], "USER": found["user"]}
        options |= {"HOST": found["host"], "PORT": found.get("port", "")}
        default = {"ENGINE": "django.db.backends.dummy"}
        known: Any = connections.configure_settings({"default": default, self.alias: options})
        connections.settings[self.alias] = known[self.alias]
        self.wrapper = connections[self.alias]

    def begin(self) -> None:
        self.block = transaction.atomic(using=self.alias)
        self.block.__enter__()

    def nouns(self) -> Bound:
        found: Bound = Client(self.url).on(self.wrapper)
        return found

    def write(self, text: str) -> None:
        with self.wrapper.cursor() as cursor:
            cursor.execute(text)

    def commit(self) -> None:
        self.block.__exit__(None, None, None)

    def rollback(self) -> None:
        roll_back(self.block)

    def close(self) -> None:
        self.wrapper.close()
        del connections[self.alias]
        del connections.settings[self.alias]


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


WAYS: dict[str, Callable[[str], Way]] = {
    "psycopg": Psycopg,
    "psycopg async": AsyncPsycopg,
    "asyncpg": Asyncpg,
    "asyncpg pool": AsyncpgPool,
    "sqlalchemy session": SqlalchemySession,
    "sqlalchemy connection": SqlalchemyConnection,
    "sqlalchemy async session, psycopg": AsyncSqlalchemy,
    "sqlalchemy async session, asyncpg": AsyncSqlalchemyOnAsyncpg,
    "sqlalchemy async connection, psycopg": AsyncSqlalchemyConnection,
    "sqlalchemy async connection, asyncpg": AsyncSqlalchemyConnectionOnAsyncpg,
    "django": Django,
    "client.transaction": OwnTransaction,
    "async client.transaction": OwnAsyncTransaction,
    "enqueue_v1": Sql,
}

_CASTS = {
    "payload": "json", "delay": "interval", "run_at": "timestamptz", "expires_at": "timestamptz",
    "expires_in": "interval", "timeout": "float8", "retry": "json", "tags": "text[]", "priority": "int",
    "at_most_once": "boolean", "wake": "boolean",
}  # fmt: skip


def enqueue_v1(conn: psycopg.Connection[Any], **given: Any) -> int:
    """Call the function with named arguments."""
    named = ", ".join(f"{name} => %({name})s::{_CASTS.get(name, 'text')}" for name in given)
    row = conn.execute(f"select perdure.enqueue_v1({named})".encode(), given).fetchone()
    assert row is not None
    return int(row[0])


def arguments(job: JobSpec) -> dict[str, Any]:
    """What a spec says, as the named arguments of enqueue_v1."""
    given: dict[str, Any] = {
        "task": job.task, "payload": job.payload, "queue": job.queue, "key": job.key, "priority": job.priority,
        "delay": job.delay, "run_at": job.run_at, "timeout": job.timeout, "at_most_once": job.at_most_once,
        "expires_at": job.expires if isinstance(job.expires, datetime) else None,
        "expires_in": job.expires if isinstance(job.expires, timedelta) else None,
        "retry": json.dumps(job.retry.to_options()) if job.retry else None,
        "tags": list(job.tags) or None,
    }  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def driver(url: str, name: str) -> str:
    """The URL as SQLAlchemy wants it."""
    return url.replace("postgresql://", f"postgresql+{name}://", 1)


def roll_back(block: Any) -> None:
    """Leave a block as an exception would."""
    error = ZeroDivisionError()
    try:
        block.__exit__(ZeroDivisionError, error, None)
    except ZeroDivisionError:
        return


async def _with_json(conn: Any) -> None:
    for kind in ("json", "jsonb"):
        await conn.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
