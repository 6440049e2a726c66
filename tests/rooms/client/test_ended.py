"""A transaction that somebody still holds after its block: it is refused, because its connection is somebody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from perdure import AsyncClient, Client
from perdure.app.client.bound import AsyncTransaction, Transaction
from perdure.core.errors import Unsupported
from perdure.core.op import Call, Op
from perdure.jobs.ops.enqueue import ENQUEUE_ONE, enqueue
from perdure.pg.borrow import OnPsycopg
from tests.conftest import Database
from tests.rooms.client.shop import send_receipt

JOB = send_receipt.job(order_id=9182)
ENDED = r"transaction: has ended, .*; use it inside of its block"
USES: Mapping[str, Callable[[Any], Any]] = {
    "enqueue": lambda tx: tx.jobs.enqueue(JOB),
    "enqueue a unique one": lambda tx: tx.jobs.enqueue(JOB, unique="order:9182"),
    "enqueue many": lambda tx: tx.jobs.enqueue_many([JOB, JOB]),
    "change": lambda tx: tx.jobs.cancel(1),
    "look": lambda tx: tx.jobs.list(),
    "another noun": lambda tx: tx.workflows.signal("order:9182", "paid"),
    "the connection": lambda tx: tx.connection.execute("insert into told values ('late')"),
}


@pytest.fixture
def told(db: Database) -> Database:
    """A table of the application's own."""
    db.connect().execute("create table told (what text not null)")
    return db


def left(db: Database) -> tuple[list[str], int]:
    """What was told, and how many jobs there are."""
    conn = db.connect()
    rows = conn.execute("select what from told order by what").fetchall()
    jobs = conn.execute("select count(*)::int from perdure.job").fetchone()
    assert jobs is not None
    return [what for (what,) in rows], jobs[0]


async def test_a_transaction_that_has_ended_writes_nothing_into_anothers(told: Database) -> None:
    """A task that outlives the block it was given the transaction of is refused, while another transaction is open on
    that connection, and when none is; neither gets what it would have written. Red when the transaction isn't let go of
    at the end of its block."""
    go = asyncio.Event()

    async def late(tx: AsyncTransaction) -> None:
        await go.wait()
        for use in USES.values():
            with pytest.raises(Unsupported, match=ENDED):
                await use(tx)

    async with AsyncClient(told.url) as client:
        async with client.transaction() as first:
            task, pid = asyncio.create_task(late(first)), first.connection.info.backend_pid
        async with client.transaction() as other:
            assert other.connection.info.backend_pid == pid
            await other.connection.execute("insert into told values ('in time')")
            go.set()
            await task
        await late(first)

    assert left(told) == (["in time"], 0)


@pytest.mark.parametrize("runs", [False, True], ids=["transaction", "run"])
def test_a_transaction_that_has_ended_is_refused_in_threads_too(told: Database, runs: bool) -> None:
    """The same for what is called, in a block and in `run`, when the block has raised. Red when the transaction isn't
    let go of at its end."""
    kept: list[Transaction] = []

    def work(tx: Transaction) -> None:
        kept.append(tx)
        tx.connection.execute("insert into told values ('never')")
        raise ZeroDivisionError

    def block(work: Callable[[Transaction], None]) -> None:
        with client.transaction() as tx:
            work(tx)

    with Client(told.url) as client:
        with pytest.raises(ZeroDivisionError):
            (client.run if runs else block)(work)
        for use in USES.values():
            with pytest.raises(Unsupported, match=ENDED):
                use(kept[0])

    assert left(told) == ([], 0)


async def test_run_lets_go_of_its_transaction_on_a_loop(told: Database) -> None:
    """What an async function has given away is refused after `run`. Red when `AsyncClient.run` doesn't let go of it."""
    async with AsyncClient(told.url) as client:

        async def work(tx: AsyncTransaction) -> AsyncTransaction:
            await tx.jobs.enqueue(JOB)
            return tx

        kept = await client.run(work)
        with pytest.raises(Unsupported, match=ENDED):
            await kept.jobs.enqueue(JOB)

    assert left(told) == ([], 1)


def test_an_op_that_has_begun_goes_no_further_than_the_block(told: Database) -> None:
    """The end of a block between two statements of a verb refuses the second one. Red when an op asks only once whether
    its transaction is still open."""
    on = OnPsycopg(told.connect(), "perdure")

    def work() -> Op[None]:
        (id,) = yield from enqueue([JOB])
        on.end()
        yield Call(ENQUEUE_ONE, {"id": id})

    with pytest.raises(Unsupported, match=ENDED):
        on.ask(work())

    assert left(told) == ([], 1)
