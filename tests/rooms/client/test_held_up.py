"""What an enqueue or a start has waited for in vain is told in its own words: a key, an id, a queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from perdure import Client
from perdure.core.errors import LockTimeout
from perdure.workflows.model import RunSpec
from tests.conftest import Database
from tests.rooms.client.shop import charge, send_receipt

RUN = RunSpec(name="checkout", version=1, payload="{}", queue="mail")
JOBS = [send_receipt.job(order_id=number).options(unique=key) for number, key in enumerate("kbcd")]
HOLDS: dict[str, Callable[[Any], Any]] = {
    "the key": lambda on: on.jobs.enqueue(JOBS[0]),
    "one of many keys": lambda on: on.jobs.enqueue(JOBS[0]),
    "one of unlike jobs": lambda on: on.jobs.enqueue(JOBS[0]),
    "the id": lambda on: on.workflows.start(RUN, id="order:1"),
    "one of many ids": lambda on: on.workflows.start(RUN, id="order:1"),
    "the queue": lambda on: on.jobs.enqueue(charge.job(order_id=1)),
}
WAITS = HOLDS | {
    "one of many keys": lambda on: on.jobs.enqueue_many(JOBS),
    "one of unlike jobs": lambda on: on.jobs.enqueue_many([*JOBS[:2], charge.job(order_id=1)]),
    "one of many ids": lambda on: on.workflows.start_many([(RUN, "order:2"), (RUN, "order:1")]),
}
SAID = {
    "the key": ("unique", "'k' is being written", "tx.jobs.enqueue"),
    "one of many keys": ("unique", "one of 4 keys ('k', 'b', 'c', …) is being written", "tx.jobs.enqueue"),
    "one of unlike jobs": ("unique", "one of 2 keys ('k', 'b') is being written", "tx.jobs.enqueue"),
    "the id": ("id", "'order:1' is being written", "tx.workflows.start"),
    "one of many ids": ("id", "one of 2 ids is being written", "tx.workflows.start"),
    "the queue": ("queue", "'cards' is being made", "a worker"),
}


@pytest.fixture
def client(db: Database) -> Client:
    """It only lends itself. The queues ``mail`` and ``default`` are there."""
    made = Client(db.url)
    made.on(db.connect()).jobs.enqueue(send_receipt.job(order_id=0))
    return made


@pytest.mark.parametrize("what", HOLDS)
async def test_what_waits_in_vain_is_told_for_which_key_id_or_queue(db: Database, client: Client, what: str) -> None:
    """An enqueue or a start whose unique key, id or new queue an open transaction is writing says so when lock_timeout
    has passed, with what to do if that is its own, on psycopg as on asyncpg [DW-58]. Red when the server's words about
    index tuples are handed on."""
    holder = db.connect()
    with holder.transaction():
        HOLDS[what](client.on(holder))
        waiter = db.connect(options="-c lock_timeout=50ms")
        with pytest.raises(LockTimeout) as called:
            WAITS[what](client.on(waiter))

        other = await asyncpg.connect(db.url, server_settings={"lock_timeout": "50ms"})
        with pytest.raises(LockTimeout) as awaited:
            await WAITS[what](client.on(other))
        await other.close()

    field, said, fix = SAID[what]
    for error in (called.value, awaited.value):
        assert (error.field, error.sqlstate) == (field, "55P03")
        assert error.message == f"{said} by another open transaction, which hasn't ended within the lock timeout"
        assert fix in str(error)


def test_a_lock_on_a_table_is_told_as_what_it_is(db: Database, client: Client) -> None:
    """Who waits in vain for the whole table of keys, as while it is migrated, isn't told of a key. Red when every lock
    that isn't granted is taken for one."""
    holder, waiter = db.connect(), db.connect(options="-c lock_timeout=50ms")
    with holder.transaction():
        holder.execute("lock table perdure.unique_key, perdure.run")
        for wait in ("the key", "one of many keys", "the id"):
            with pytest.raises(LockTimeout, match=r"^canceling statement due to lock timeout"):
                WAITS[wait](client.on(waiter))
