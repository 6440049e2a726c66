"""What ``client.on`` takes, what it refuses and how, and what it means in autocommit mode."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from django.db import connections
from django.db.transaction import TransactionManagementError
from psycopg_pool import ConnectionPool
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from perdure import Client
from perdure.core.errors import DatabaseError, StatementRefused, Unsupported
from perdure.jobs.model import JobSpec
from tests.conformance.ways import Django, driver
from tests.conftest import Database
from tests.rooms.client.shop import send_receipt

JOB = send_receipt.job(order_id=9182)
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
client: Any = Client(NOWHERE)


def _count(db: Database) -> int:
    row = db.connect().execute("select count(*) from perdure.job").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (sqlite3.connect(":memory:"), "sqlite3.Connection can't be borrowed; give a connection of psycopg 3"),
        (sqlalchemy.create_engine(driver(NOWHERE, "psycopg")), "give the connection of `engine.begin\\(\\)`"),
        (create_async_engine(driver(NOWHERE, "asyncpg")), "give the connection of `engine.begin\\(\\)`"),
        (create_async_engine(driver(NOWHERE, "asyncpg")).connect(), "isn't open; await it"),
        (sessionmaker(), "give a session it made"),
        (Session(sqlalchemy.create_engine("sqlite://")), r"runs on sqlite\+pysqlite; .*postgresql\+psycopg://"),
        (sqlalchemy.create_engine("sqlite://").connect(), r"runs on sqlite\+pysqlite; .*postgresql\+psycopg://"),
        (ConnectionPool(NOWHERE, open=False), "give a connection of the pool"),
        (NOWHERE, "a str can't be borrowed"),
        (None, "a NoneType can't be borrowed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cant_be_borrowed_is_named_with_the_fix(thing: Any, said: str) -> None:
    """Another driver, a pool, an engine, a factory: each is refused before any I/O, by name and with what to give."""
    with pytest.raises(Unsupported, match=said) as caught:
        client.on(thing)

    assert caught.value.field == "connection"


def test_psycopg2_is_named() -> None:
    """A connection of psycopg2, and SQLAlchemy on it, are told from psycopg 3."""

    class Psycopg2Connection:
        __module__ = "psycopg2.extensions"

    class Dialect:
        name, driver = "postgresql", "psycopg2"

    class Psycopg2Session(Session):
        def get_bind(self, *args: Any, **kwargs: Any) -> Any:
            return type("Engine", (), {"dialect": Dialect})

    with pytest.raises(Unsupported, match="psycopg2 isn't supported"):
        client.on(Psycopg2Connection())
    with pytest.raises(Unsupported, match=r"runs on psycopg2; make the engine with postgresql\+psycopg://"):
        client.on(Psycopg2Session())


def test_what_is_closed_is_refused(db: Database) -> None:
    """A closed connection is refused when it is lent, not when it is used."""
    conn = psycopg.connect(db.url)
    cursor = conn.cursor()
    with pytest.raises(Unsupported, match="give the cursor's connection"):
        client.on(cursor)
    conn.close()
    engine = sqlalchemy.create_engine(driver(db.url, "psycopg"))
    borrowed = engine.connect()
    borrowed.close()
    engine.dispose()

    for closed in (conn, borrowed):
        with pytest.raises(Unsupported, match="connection: is closed"):
            client.on(closed)


async def test_a_released_asyncpg_connection_is_refused(db: Database) -> None:
    """A connection that went back to asyncpg's pool is closed to whoever had it."""
    async with asyncpg.create_pool(db.url, min_size=1, max_size=1) as pool:
        async with pool.acquire() as conn:
            await client.on(conn).jobs.enqueue(JOB)
        with pytest.raises(Unsupported, match="connection: is closed"):
            client.on(conn)
        with pytest.raises(Unsupported, match="give a connection of the pool"):
            client.on(pool)


def test_in_autocommit_mode_each_verb_is_a_transaction(db: Database) -> None:
    """Without a transaction each verb commits by itself, all of its statements or none; inside one they join it."""
    conn = psycopg.connect(db.url, autocommit=True)
    nouns = client.on(conn)
    id = nouns.jobs.enqueue(JOB).id
    bad = JobSpec(task="t", payload="{}").with_payload("no JSON")
    with pytest.raises(StatementRefused):
        nouns.jobs.enqueue_many([*[JOB] * 5_000, bad])
    assert _count(db) == 1

    assert nouns.jobs.cancel(id) == "cancelled"
    with suppress(ZeroDivisionError), conn.transaction():
        nouns.jobs.enqueue(JOB)
        raise ZeroDivisionError
    assert _count(db) == 0
    conn.close()


async def test_asyncpg_without_a_transaction_commits_each_verb(db: Database) -> None:
    """An asyncpg connection outside a transaction commits each verb, all of its statements or none."""
    conn = await asyncpg.connect(db.url)
    await client.on(conn).jobs.enqueue(JOB)
    bad = JobSpec(task="t", payload="{}").with_payload("no JSON")
    with pytest.raises(StatementRefused):
        await client.on(conn).jobs.enqueue_many([*[JOB] * 5_000, bad])
    await conn.close()

    assert _count(db) == 1


def test_a_sqlalchemy_session_may_be_scoped_or_in_autocommit_mode(db: Database) -> None:
    """A scoped session is the session behind it; a connection in AUTOCOMMIT commits each verb."""
    engine = sqlalchemy.create_engine(driver(db.url, "psycopg"))
    scoped = scoped_session(sessionmaker(engine))
    client.on(scoped).jobs.enqueue(JOB)
    assert _count(db) == 0
    scoped.commit()
    scoped.remove()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        client.on(conn).jobs.enqueue(JOB)
        assert _count(db) == 2
    engine.dispose()


async def test_a_session_run_in_sync_inside_an_async_one_works(db: Database) -> None:
    """Synchronous code under ``AsyncSession.run_sync`` enqueues with the session it is given, on either driver."""
    for name in ("psycopg", "asyncpg"):
        engine = create_async_engine(driver(db.url, name))
        async with AsyncSession(engine) as session:
            await session.run_sync(lambda sync: client.on(sync).jobs.enqueue(JOB).id)
            await session.commit()
        await engine.dispose()

    assert _count(db) == 2


def test_a_savepoint_takes_its_jobs_with_it(db: Database) -> None:
    """What a savepoint rolls back leaves nothing; what stands around it commits."""
    engine = sqlalchemy.create_engine(driver(db.url, "psycopg"))
    with Session(engine) as session:
        client.on(session).jobs.enqueue(JOB)
        inner = session.begin_nested()
        client.on(session).jobs.enqueue(JOB)
        inner.rollback()
        session.commit()
    engine.dispose()

    assert _count(db) == 1


def test_a_broken_django_transaction_is_refused_as_django_does(db: Database) -> None:
    """After an error inside ``atomic`` Django lets no query through; an enqueue is none the better."""
    way = Django(db.url)
    way.begin()
    way.wrapper.needs_rollback = True
    with pytest.raises(TransactionManagementError):
        way.enqueue(JOB)
    way.rollback()
    with pytest.raises(Unsupported, match="is Django's connection to unknown; give the one to Postgres"):
        client.on(connections["default"])
    way.close()


def test_errors_are_ours_whoever_carries_the_statement(db: Database) -> None:
    """What Postgres refuses reads the same through psycopg and through SQLAlchemy, with its SQLSTATE."""
    bad = JobSpec(task="t", payload="{}").with_payload("no JSON")
    engine = sqlalchemy.create_engine(driver(db.url, "psycopg"))
    with psycopg.connect(db.url) as conn, engine.connect() as borrowed:
        for owner in (conn, borrowed):
            with pytest.raises(DatabaseError) as caught:
                client.on(owner).jobs.enqueue(bad)
            assert (type(caught.value), caught.value.sqlstate) == (StatementRefused, "22P02")
        conn.rollback()
    engine.dispose()
