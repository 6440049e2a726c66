"""One suite for every way of enqueueing: what commits is there, what rolls back isn't, and all of it arrives equal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure import App, Client, JobSpec, Retry
from perdure.core import limits
from tests.conformance import awaited, ways
from tests.conformance.ways import Way
from tests.conftest import Database

WAYS: dict[str, Callable[[str], ways.Way]] = {
    "psycopg": ways.Psycopg,
    "psycopg async": awaited.AsyncPsycopg,
    "asyncpg": awaited.Asyncpg,
    "asyncpg pool": awaited.AsyncpgPool,
    "sqlalchemy session": ways.SqlalchemySession,
    "sqlalchemy connection": ways.SqlalchemyConnection,
    "sqlalchemy async session, psycopg": awaited.AsyncSqlalchemy,
    "sqlalchemy async session, asyncpg": awaited.AsyncSqlalchemyOnAsyncpg,
    "sqlalchemy async connection, psycopg": awaited.AsyncSqlalchemyConnection,
    "sqlalchemy async connection, asyncpg": awaited.AsyncSqlalchemyConnectionOnAsyncpg,
    "django": ways.Django,
    "client.transaction": ways.OwnTransaction,
    "async client.transaction": awaited.OwnAsyncTransaction,
    "enqueue_v1": ways.Sql,
}

ON_EVERY_SERVER = ("psycopg", "asyncpg", "enqueue_v1")
"""Each driver by itself, and none. What others put on top of a driver is the same on any server."""

app = App("shop")


@app.task(queue="mail")
async def send_receipt(order_id: int, note: str = "") -> None:
    """What the jobs are about."""


@pytest.fixture(
    params=[pytest.param(name, marks=() if name in ON_EVERY_SERVER else pytest.mark.newest) for name in WAYS]
)
def way(request: pytest.FixtureRequest, db: Database) -> Iterator[Way]:
    """Each way, with a transaction begun, on a database where the application has a table of its own."""
    db.connect().execute("create table paid (order_id bigint)")
    found = WAYS[request.param](db.url)
    found.begin()
    yield found
    with suppress(Exception):  # a test may have cut its connection
        found.close()


def _standing(db: Database) -> list[tuple[Any, ...]]:
    return db.connect().execute("select id, task, place from perdure.jobs order by id").fetchall()


def _paid(db: Database) -> int:
    row = db.connect().execute("select count(*) from paid").fetchone()
    assert row is not None
    return int(row[0])


def test_what_commits_is_there_in_plain_sql(way: Way, db: Database) -> None:
    """Work row and business row appear together at the commit, and not before; no worker has run [DW-2, DW-11].

    Guard: the op is driven on the caller's connection and never commits.
    """
    way.write("insert into paid values (9182)")
    id = way.enqueue(send_receipt.job(order_id=9182))
    assert (_paid(db), _standing(db)) == (0, [])

    way.commit()

    assert (_paid(db), _standing(db)) == (1, [(id, "send_receipt", "ready")])


def test_what_rolls_back_leaves_nothing(way: Way, db: Database) -> None:
    """A rollback leaves neither business row nor work row, nor anything in a place [DW-2].

    Guard: the op is driven on the caller's connection and never commits.
    """
    way.write("insert into paid values (9182)")
    way.enqueue(send_receipt.job(order_id=9182))
    way.enqueue(send_receipt.job(order_id=9182), delay=3600)
    way.enqueue_many([send_receipt.job(order_id=number) for number in range(3)])

    way.rollback()

    assert (_paid(db), _standing(db)) == (0, [])
    found = db.connect().execute(
        "select (select count(*) from perdure.ready), (select count(*) from perdure.scheduled)"
    )
    assert found.fetchone() == (0, 0)


def test_a_crash_between_the_statements_leaves_nothing(way: Way, db: Database) -> None:
    """A connection that is cut after the enqueue and before the commit leaves neither row [DW-2, DW-3].

    Guard: the op is driven on the caller's connection and never commits.
    """
    way.write("insert into paid values (9182)")
    way.enqueue(send_receipt.job(order_id=9182))

    db.connect().execute(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    with pytest.raises(Exception, match=r"(?i)terminat|clos|lost|not open"):
        way.commit()

    assert (_paid(db), _standing(db)) == (0, [])


SAID: dict[str, Any] = {
    "queue": "orders",
    "key": "order:9182 ünï",
    "priority": 0,
    "run_at": datetime(2037, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC),
    "expires": datetime(2037, 2, 3, tzinfo=UTC),
    "timeout": 12.5,
    "retry": Retry(max_attempts=3, base=2.5, delays=(1, 2), jitter="none"),
    "tags": ("a", 'quoted " \\ {,}', "NULL"),
    "at_most_once": True,
}


def test_every_option_arrives_equal(way: Way, db: Database) -> None:
    """Each option said at enqueue stands in the job as it was said."""
    id = way.enqueue(send_receipt.job(order_id=9182), **SAID)
    way.commit()

    with Client(db.url) as client:
        job = client.jobs.get(id)
    assert (job.queue, job.key, job.priority, job.place) == ("orders", "order:9182 ünï", 0, "scheduled")
    assert (job.run_at, job.expires_at, job.tags) == (SAID["run_at"], SAID["expires"], SAID["tags"])
    assert job.options == {"timeout": 12.5, "retry": SAID["retry"].to_options(), "at_most_once": True}
    assert (job.payload, job.attempt, job.generation) == ({"order_id": 9182}, 0, 0)


def test_spans_count_from_the_enqueue(way: Way, db: Database) -> None:
    """A delay and a relative expiry are counted by the database's clock from the enqueue."""
    id = way.enqueue(send_receipt.job(order_id=9182), delay=timedelta(hours=1), expires=7200)
    now = way.enqueue(send_receipt.job(order_id=9182), delay=0)
    way.commit()

    with Client(db.url) as client:
        job, due = client.jobs.get(id), client.jobs.get(now)
    assert job.run_at is not None
    assert job.expires_at is not None
    assert timedelta(0) <= job.run_at - job.created_at - timedelta(hours=1) < timedelta(minutes=1)
    assert timedelta(0) <= job.expires_at - job.created_at - timedelta(hours=2) < timedelta(minutes=1)
    assert (due.place, due.run_at, due.expires_at) == ("ready", None, None)


def _mixed(count: int) -> list[JobSpec]:
    """Jobs that differ in every option, some due later."""
    return [
        send_receipt.job(order_id=number).options(
            queue=("mail", "orders", "sync")[number % 3],
            priority=number % 10,
            key=f"order:{number}" if number % 2 else None,
            delay=3600 if number % 5 == 0 else None,
            tags=("x", "y")[: number % 3],
            timeout=float(number + 1) if number % 4 == 0 else None,
            expires=86_400 if number % 7 == 0 else None,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "jobs", [[send_receipt.job(order_id=n) for n in range(40)], _mixed(40)], ids=["alike", "mixed"]
)
def test_many_arrive_in_order_in_one_statement(way: Way, db: Database, jobs: list[JobSpec]) -> None:
    """Many jobs get ascending ids in the order given, each with its own options, by one statement [DW-16].

    Guard: positions are drawn in the order of the rows that were sent.
    """
    way.enqueue(jobs[0])  # makes the queue, so that the statement isn't sent twice
    ids = way.enqueue_many(jobs)
    way.commit()

    assert ids == sorted(set(ids))
    with Client(db.url) as client:
        for id, spec in zip(ids, jobs, strict=True):
            job = client.jobs.get(id)
            assert (job.task, job.payload) == (spec.task, json.loads(spec.payload))
            assert (job.queue, job.key, job.tags) == (spec.queue, spec.key, spec.tags)
            assert job.priority == (limits.PRIORITY_DEFAULT if spec.priority is None else spec.priority)
            assert (job.place == "scheduled", job.expires_at is None) == (spec.delay is not None, spec.expires is None)
            assert job.options.get("timeout") == spec.timeout
    statements = db.connect().execute("select count(distinct cmin::text) from perdure.job where id = any(%s)", [ids])
    if way.one_statement and len({spec.queue for spec in jobs}) == 1:
        assert statements.fetchone() == (1,)


@pytest.mark.parametrize(
    "note",
    ["Größe 注文 🧾 \u2028 \x7f", "quotes \" \\ ' $1 %s %(x)s {} ; -- \n\t", "x" * 900_000, "\\u0041 null NaN"],
    ids=["unicode", "quotes", "large", "escapes"],
)
def test_payloads_come_out_as_they_went_in(way: Way, note: str, db: Database) -> None:
    """A payload's text is kept to the letter, alone and among others, and the same way reads back the same value."""
    spec = send_receipt.job(order_id=2**53 + 1, note=note)
    alone, (_, among) = way.enqueue(spec), way.enqueue_many([send_receipt.job(order_id=1), spec])
    read = way.get(alone)
    way.commit()

    kept = db.connect().execute("select payload::text from perdure.job where id = any(%s)", [[alone, among]]).fetchall()
    assert kept == [(spec.payload,), (spec.payload,)]
    assert read.payload == {"order_id": 2**53 + 1, "note": note}


def test_every_way_reads_the_same_job(way: Way, db: Database) -> None:
    """A job read inside the transaction that made it, whichever way, is the one a client reads after the commit."""
    id = way.enqueue(send_receipt.job(order_id=9182), **SAID)
    read = way.get(id)
    way.commit()

    with Client(db.url) as client:
        assert client.jobs.get(id) == read
