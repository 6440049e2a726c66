"""All connections taken: who wants one waits for a bounded time, is told, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from perdure import AsyncClient, Client
from perdure.app.client import opening
from perdure.core.errors import ServerUnavailable
from tests.conftest import Database
from tests.pooler import Pooler
from tests.rooms.client.shop import send_receipt

JOB = send_receipt.job(order_id=9182)


@contextmanager
def impatient() -> Iterator[None]:
    """In here, clients wait for a connection only briefly; elsewhere a connection that is still being made may take its
    time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(opening, "CONNECTION_SECONDS_MAX", 0.2)
        yield


def test_who_finds_every_connection_of_the_client_taken_is_told(db: Database) -> None:
    """While two transactions have the only connections a lone enqueue gives up after the client's bound, names it, and
    has written nothing; afterwards it goes through. Red without a time-out of the pool."""
    with Client(db.url) as client, ThreadPoolExecutor(1) as other:
        client._pooled._connections = 2
        with client.transaction() as tx, client.transaction():
            first = tx.jobs.enqueue(JOB).id
            with impatient():
                refused = other.submit(client.jobs.enqueue, JOB).exception(60)
        second = client.jobs.enqueue(JOB).id

        assert isinstance(refused, ServerUnavailable)
        assert "not all of the 2 connections here are in use" in str(refused)
        assert [job.id for job in client.jobs.list()] == [second, first]


async def test_who_finds_every_connection_taken_is_told_on_a_loop(db: Database) -> None:
    """The same for the asynchronous client."""
    async with AsyncClient(db.url) as client:
        client._pooled._connections = 2
        async with client.transaction() as tx, client.transaction():
            await tx.jobs.enqueue(JOB)
            with impatient(), pytest.raises(ServerUnavailable, match="in use"):
                await client.jobs.enqueue(JOB)
        await client.jobs.enqueue(JOB)

        assert len(await client.jobs.list()) == 2


def test_a_pooler_whose_sessions_are_all_taken_is_waited_for(db: Database, pooler: Pooler) -> None:
    """A stranger's transaction has the only session of the pooler: an enqueue waits in the pooler's line and is written
    once, when it is its turn [KIT-20]."""
    with (
        psycopg.connect(pooler.url(db.name), prepare_threshold=None) as stranger,
        Client(pooler.url(db.name)) as client,
    ):
        first = client.jobs.enqueue(JOB).id
        stranger.execute("select 1")
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(client.jobs.enqueue, JOB)
            _until_waiting(pooler, db.name)
            assert not waiting.done()
            stranger.rollback()
            second = waiting.result(60).id

        assert [job.id for job in client.jobs.list()] == [second, first]


def _until_waiting(pooler: Pooler, database: str) -> None:
    """Until a client stands in the pooler's line."""
    tried = threading.Event()
    for _ in range(3_000):
        rows = [dict(zip(("database", "user", "active", "waiting"), row[:4], strict=True)) for row in _pools(pooler)]
        if any(row["database"] == database and row["waiting"] for row in rows):
            return
        tried.wait(0.02)
    raise AssertionError("nobody waits")


def _pools(pooler: Pooler) -> list[tuple[object, ...]]:
    return pooler.command("show pools")
