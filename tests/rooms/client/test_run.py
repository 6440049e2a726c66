"""``client.run``: transactions that meet others are replayed whole, and a commit without an answer is asked after."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
import pytest

from perdure import AsyncClient, Client
from perdure.app.client.bound import AsyncTransaction, Transaction
from perdure.core.errors import (
    InvalidOption,
    OutcomeUnknown,
    StatementTimeout,
    TransactionConflict,
    TransactionFailed,
    Unsupported,
)
from tests.chaos.proxy import Proxy
from tests.conftest import Database
from tests.rooms.client.patience import patient
from tests.rooms.client.shop import send_receipt

BOUND_SECONDS = 60.0


@pytest.fixture
def accounts(db: Database) -> psycopg.Connection[Any]:
    """Two accounts of an application."""
    conn = db.connect()
    conn.execute("create table account (id int primary key, paid int not null default 0)")
    conn.execute("insert into account (id) values (1), (2)")
    return conn


@pytest.fixture
def proxy(db: Database) -> Iterator[Proxy]:
    """A wire to the database that can be cut."""
    made = Proxy(db.url)
    yield made
    made.close()


class Transfer:
    """Pays two accounts in an order of its own, and enqueues a job; at its first run it meets its counterpart."""

    def __init__(self, first: int, second: int, meeting: threading.Barrier) -> None:
        self._order, self._meeting, self.runs = (first, second), meeting, 0

    def __call__(self, tx: Transaction) -> int:
        self.runs += 1
        tx.connection.execute("update account set paid = paid + 1 where id = %s", [self._order[0]])
        if self.runs == 1:
            self._meeting.wait(BOUND_SECONDS)
        tx.connection.execute("update account set paid = paid + 1 where id = %s", [self._order[1]])
        return tx.jobs.enqueue(send_receipt.job(order_id=self._order[0])).id


def _one(conn: psycopg.Connection[Any], query: str) -> Any:
    found = conn.execute(query.encode()).fetchone()
    assert found is not None
    return found[0]


def test_the_victim_of_a_deadlock_is_replayed_whole(db: Database, accounts: psycopg.Connection[Any]) -> None:
    """Two transactions lock two rows in opposite order: the victim runs again from its first line, and each payment and
    each job is there once [KIT-19, OPS-21]. Red when `run` doesn't replay, and when it repeats a part."""
    meeting = threading.Barrier(2)
    transfers = Transfer(1, 2, meeting), Transfer(2, 1, meeting)
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
    with Client(patient(db)) as client, ThreadPoolExecutor(2) as pool:
        ids = list(pool.map(client.run, transfers))
        contention = client.contention

    assert accounts.execute("select id, paid from account order by id").fetchall() == [(1, 2), (2, 2)]
    assert sorted(ids) == [id for (id,) in accounts.execute("select id from perdure.job order by id")]
    assert sorted(transfer.runs for transfer in transfers) == [1, 2]
    assert contention == {"deadlocks": 1, "serialization_failures": 0, "lock_timeouts": 0}
    assert _one(accounts, deadlocks) in (0, 1)  # the server's own count, which it writes down when it likes


async def test_the_victim_of_a_deadlock_is_replayed_whole_on_a_loop(
    db: Database, accounts: psycopg.Connection[Any]
) -> None:
    """The same for the asynchronous client [KIT-19]."""
    met, runs, locked = asyncio.Event(), {1: 0, 2: 0}, set[int]()
    async with AsyncClient(patient(db)) as client:

        async def transfer(first: int, second: int) -> None:
            async def pay(tx: Any) -> None:
                runs[first] += 1
                await tx.connection.execute("update account set paid = paid + 1 where id = %s", [first])
                locked.add(first)
                met.set() if len(locked) == 2 else None
                await met.wait()
                await tx.connection.execute("update account set paid = paid + 1 where id = %s", [second])
                await tx.jobs.enqueue(send_receipt.job(order_id=first))

            await client.run(pay)

        await asyncio.gather(transfer(1, 2), transfer(2, 1))

    assert accounts.execute("select id, paid from account order by id").fetchall() == [(1, 2), (2, 2)]
    assert _one(accounts, "select count(*) from perdure.job") == 2
    assert (sorted(runs.values()), client.contention["deadlocks"]) == ([1, 2], 1)


def test_a_serialization_failure_is_replayed_until_the_attempts_are_used_up(
    db: Database, accounts: psycopg.Connection[Any]
) -> None:
    """A transaction of that isolation whose row somebody else has changed is run again; when each attempt meets that,
    the error says how many there were, and nothing is written. The next one has the database's own isolation."""
    runs: list[str] = []

    def pay(tx: Transaction) -> None:
        runs.append(_one(tx.connection, "select current_setting('transaction_isolation')"))
        tx.connection.execute("select paid from account")
        if len(runs) != 2:
            accounts.execute("update account set paid = 10")
        tx.connection.execute("update account set paid = paid + 1")

    with Client(db.url) as client:
        client.run(pay, isolation="serializable")
        assert _one(accounts, "select sum(paid) from account") == 22
        with pytest.raises(TransactionConflict, match="run 2 times"):
            client.run(lambda tx: (runs.append("3"), pay(tx)), attempts=2, isolation="repeatable read")  # type: ignore
        with client.transaction() as tx:
            assert _one(tx.connection, "select current_setting('transaction_isolation')") == "read committed"
        with pytest.raises(InvalidOption, match="isolation"):
            client.run(pay, isolation="chaos")  # type: ignore[arg-type]
        with pytest.raises(InvalidOption, match="attempts"):
            client.run(pay, attempts=0)

    assert runs[:2] == ["serializable", "serializable"]
    assert client.contention["serialization_failures"] == 3


def test_a_lock_that_is_not_granted_is_waited_for_again(db: Database, accounts: psycopg.Connection[Any]) -> None:
    """A lock time-out counts as contention and is replayed after a longer pause [OPS-21]."""
    runs = 0

    def pay(tx: Transaction) -> None:
        nonlocal runs
        runs += 1
        tx.connection.execute("set local lock_timeout = 50")
        if runs == 2:
            accounts.execute("rollback")
        tx.connection.execute("update account set paid = 1")

    accounts.execute("begin")
    accounts.execute("lock table account")
    with Client(db.url) as client:
        client.run(pay)
        assert (runs, client.contention["lock_timeouts"]) == (2, 1)


def test_what_a_replay_cannot_mend_is_raised_at_once(db: Database, accounts: psycopg.Connection[Any]) -> None:
    """A statement that took too long (57014), and any other error, ends the first run [OPS-21]. Red when every
    transient error is replayed."""
    runs: list[str] = []

    def slow(tx: Transaction) -> None:
        runs.append("slow")
        tx.connection.execute("set local statement_timeout = 20")
        tx.connection.execute("select pg_sleep(10)")

    def slow_in_ours(tx: Transaction) -> None:
        runs.append("ours")
        tx.connection.execute("set local lock_timeout = 0")
        tx.connection.execute("set local statement_timeout = 20")
        tx.jobs.enqueue(send_receipt.job(order_id=1))

    with Client(db.url) as client:
        with pytest.raises(psycopg.errors.QueryCanceled):
            client.run(slow)
        accounts.execute("begin")
        accounts.execute("lock table perdure.job")
        with pytest.raises(StatementTimeout):
            client.run(slow_in_ours)
        accounts.execute("rollback")
        with pytest.raises(ZeroDivisionError):
            client.run(lambda tx: 1 // 0)

    assert runs == ["slow", "ours"]


def test_an_error_that_was_swallowed_fails_the_transaction(db: Database, accounts: psycopg.Connection[Any]) -> None:
    """A block that goes on after a statement has failed would be rolled back by Postgres and look committed: it raises
    TransactionFailed instead, in `run` and in `transaction`. Red without `refuse_failed`."""

    def careless(tx: Transaction) -> None:
        tx.jobs.enqueue(send_receipt.job(order_id=1))
        with suppress(psycopg.errors.DivisionByZero):
            tx.connection.execute("select 1 / 0")

    with Client(db.url) as client:
        with pytest.raises(TransactionFailed), client.transaction() as tx:
            careless(tx)
        with pytest.raises(TransactionFailed):
            client.run(careless)

    assert _one(accounts, "select count(*) from perdure.job") == 0


COMMIT = "commit"


def _cut(proxy: Proxy, moment: str) -> None:
    proxy.cut_after(lambda session, text: session == "perdure-app" and text.lower() == moment)


def test_a_commit_that_got_no_answer_is_asked_after(
    db: Database, proxy: Proxy, accounts: psycopg.Connection[Any]
) -> None:
    """The wire is cut when the server has committed and its answer is on the way: `run` asks by the transaction's
    number and returns, having run the function once; one row [KIT-18]. Red when the loss is taken for a rollback."""
    runs: list[int] = []

    def enqueue(tx: Transaction) -> int:
        runs.append(tx.jobs.enqueue(send_receipt.job(order_id=1)).id)
        return runs[-1]

    with Client(proxy.url) as client:
        client.jobs.list()
        _cut(proxy, COMMIT)
        id = client.run(enqueue)

    assert (proxy.cuts, runs) == (1, [id])
    assert accounts.execute("select id from perdure.job").fetchall() == [(id,)]


async def test_a_commit_that_got_no_answer_is_asked_after_on_a_loop(db: Database, proxy: Proxy) -> None:
    """The same for the asynchronous client [KIT-18]."""
    runs: list[int] = []

    async def enqueue(tx: Any) -> int:
        runs.append((await tx.jobs.enqueue(send_receipt.job(order_id=1))).id)
        return runs[-1]

    async with AsyncClient(proxy.url) as client:
        await client.jobs.list()
        _cut(proxy, COMMIT)
        id = await client.run(enqueue)

    assert (proxy.cuts, runs) == (1, [id])
    assert db.connect().execute("select id from perdure.job").fetchall() == [(id,)]


DIES_IN_COMMIT = """
create sequence deaths;
create function die_once() returns trigger language plpgsql as $$ begin
    if nextval('deaths') = 1 then perform pg_terminate_backend(pg_backend_pid()), pg_sleep(10); end if; return null;
end $$;
create constraint trigger dies after insert on perdure.job deferrable initially deferred for each row
execute function die_once()
"""


def test_a_commit_that_was_rolled_back_is_replayed(db: Database, accounts: psycopg.Connection[Any]) -> None:
    """The session ends in the middle of its commit: the server says that nothing was kept, and the function runs again.
    Red when an outcome that is known is raised as unknown."""
    runs: list[int] = []

    def enqueue(tx: Transaction) -> int:
        runs.append(tx.jobs.enqueue(send_receipt.job(order_id=1)).id)
        return runs[-1]

    accounts.execute(DIES_IN_COMMIT)
    with Client(db.url) as client:
        id = client.run(enqueue)

    assert (len(runs), id) == (2, runs[-1])
    assert accounts.execute("select id from perdure.job").fetchall() == [(id,)]


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_connection_that_breaks_before_the_commit_is_replayed(
    db: Database, accounts: psycopg.Connection[Any], colour: str
) -> None:
    """A function whose connection breaks as it returns has committed nothing, for certain, and is run again. Red when
    only a commit without an answer is."""
    runs: list[int] = []

    def broken(connection: Any) -> None:
        runs.append(connection.info.backend_pid)
        if len(runs) == 1:
            assert _one(accounts, f"select pg_terminate_backend({runs[0]}, 10000)")

    def pay(tx: Transaction) -> None:
        tx.connection.execute("update account set paid = paid + 1 where id = 1")
        broken(tx.connection)

    async def apay(tx: AsyncTransaction) -> None:
        await tx.connection.execute("update account set paid = paid + 1 where id = 1")
        broken(tx.connection)

    if colour == "sync":
        with Client(db.url) as client:
            client.run(pay)
    else:
        async with AsyncClient(db.url) as aclient:
            await aclient.run(apay)

    assert len(runs) == 2
    assert _one(accounts, "select paid from account where id = 1") == 1


def test_a_commit_nobody_can_tell_of_is_said_to_be_unknown(
    db: Database, proxy: Proxy, accounts: psycopg.Connection[Any]
) -> None:
    """A lone enqueue, and a `transaction()`, whose commit got no answer raise OutcomeUnknown with what to do, and not
    an error that looks like a failure: the row is there [KIT-18]. Red when the driver's own error passes."""
    with Client(proxy.url) as client:
        client.jobs.enqueue(send_receipt.job(order_id=1))
        proxy.cut_after(lambda session, text: "insert into perdure.ready" in text)
        with pytest.raises(OutcomeUnknown, match="unique keys"):
            client.jobs.enqueue(send_receipt.job(order_id=2))
        _cut(proxy, COMMIT)
        with pytest.raises(OutcomeUnknown, match="unique keys"), client.transaction() as tx:
            tx.jobs.enqueue(send_receipt.job(order_id=3))
        client.jobs.enqueue(send_receipt.job(order_id=4))

    assert proxy.cuts == 2
    assert _one(accounts, "select count(*) from perdure.job") == 4


async def test_a_look_whose_answer_is_lost_is_taken_again(db: Database, proxy: Proxy) -> None:
    """The connection breaks under the question how a job stands: it is asked again on another one, so whoever waits for
    a job doesn't hear of a server that was started anew, nor that something may have been committed. So is whatever
    only reads. Red when the first answer counts."""
    with Client(proxy.url) as client:
        id = client.jobs.enqueue(send_receipt.job(order_id=1)).id
        proxy.cut_after(lambda session, text: "from perdure.jobs" in text)
        assert client.jobs.get(id).place == "ready"
        for look in (client.jobs.list, partial(client.jobs.progress, id), client.queues.list, client.workers.list):
            proxy.cut_after(lambda session, text: "perdure." in text)
            look()
        assert proxy.cuts == 5
    async with AsyncClient(proxy.url) as client_:
        proxy.cut_after(lambda session, text: "from perdure.jobs" in text)
        assert (await client_.jobs.get(id)).place == "ready"
        proxy.cut_after(lambda session, text: "perdure." in text)
        assert [queue.name for queue in await client_.queues.list()] == ["mail"]
        assert proxy.cuts == 7


def test_an_async_function_is_refused_by_the_plain_client(
    db: Database, recwarn: pytest.WarningsRecorder, accounts: psycopg.Connection[Any]
) -> None:
    """`Client.run` given an async function, or one that returns its coroutine, says so, commits nothing and leaves no
    coroutine that nobody awaits. Red when what the function returns is handed out as it is."""

    async def pay(tx: Any) -> None:
        tx.jobs.enqueue(send_receipt.job(order_id=1))

    def both(tx: Transaction) -> Any:
        tx.jobs.enqueue(send_receipt.job(order_id=2))
        return pay(tx)

    with Client(db.url) as client:
        for function in (pay, both):
            with pytest.raises(Unsupported, match=r"function: is async, .*; give it to AsyncClient\.run"):
                client.run(function)

    gc.collect()
    assert not [each for each in recwarn if "never awaited" in str(each.message)]
    assert _one(accounts, "select count(*) from perdure.job") == 0
