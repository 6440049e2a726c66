"""Callers who are cancelled, or interrupted by Ctrl-C, at any moment: the next borrower of a session is unaffected."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any

import pytest
from psycopg import waiting

from perdure import AsyncClient, Client
from perdure.app.client.bound import AsyncTransaction, Transaction
from tests.conftest import Database
from tests.rooms.client.patience import patient
from tests.rooms.client.shop import send_receipt
from tests.rooms.worker.stage import until

JOB = send_receipt.job(order_id=9182)
BUSY = """
select count(*) from pg_stat_activity where application_name = 'perdure-app' and datname = current_database()
and (state <> 'idle' or xact_start is not null)
"""


class Cancelled:
    """Awaits a coroutine, and cancels it at its ``at``-th suspension; with ``twice`` at the one after that, too."""

    def __init__(self, coroutine: Coroutine[Any, Any, object], at: int, *, twice: bool) -> None:
        self._coroutine, self._moments = coroutine, {at, at + 1} if twice else {at}
        self.suspended = 0

    def __await__(self) -> Generator[Any, Any, object]:
        """Drive it as a task would."""
        waiting = self._coroutine.__await__()
        thrown: BaseException | None = None
        try:
            while True:
                future = waiting.send(None) if thrown is None else waiting.throw(thrown)
                self.suspended += 1
                thrown = None
                if self.suspended in self._moments:
                    if future is not None:
                        future._asyncio_future_blocking = False
                        future.cancel()
                    thrown = asyncio.CancelledError()
                    continue
                yield future
        except StopIteration as done:
            return done.value


async def _enqueue(client: AsyncClient) -> None:
    await client.jobs.enqueue(JOB)


async def _enqueue_many(client: AsyncClient) -> None:
    await client.jobs.enqueue_many([JOB, JOB])


async def _list(client: AsyncClient) -> None:
    await client.jobs.list()


async def _cancel(client: AsyncClient) -> None:
    page = await client.jobs.list(limit=1)
    await client.jobs.cancel(page[0].id)


async def _pause(client: AsyncClient) -> None:
    await client.queues.pause("mail")
    await client.queues.resume("mail")


async def _transaction(client: AsyncClient) -> None:
    async with client.transaction() as tx:
        await tx.connection.execute("set local lock_timeout = 12345")
        await tx.jobs.enqueue(JOB)


async def _run(client: AsyncClient) -> None:
    async def enqueue(tx: AsyncTransaction) -> None:
        await tx.jobs.enqueue(JOB)

    await client.run(enqueue, isolation="serializable")


ACTS: list[Callable[[AsyncClient], Coroutine[Any, Any, None]]] = [
    _enqueue, _enqueue_many, _list, _cancel, _pause, _transaction, _run,
]  # fmt: skip


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("act", ACTS)
async def test_a_caller_may_be_cancelled_at_every_await(
    db: Database,
    act: Callable[[AsyncClient], Coroutine[Any, Any, None]],
    twice: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each verb and each block is cancelled at each of its awaits, and once more while it cleans up: no session stays
    in a transaction, none is lost to its pool, and the next borrower finds a clean one [KIT-15]. Red when a block
    is rolled back after Exceptions only, and when an isolation is set before it is seen to that it is taken back."""
    monkeypatch.setattr(waiting, "MAX_BUSY_TIME", 0.0)  # what needn't wait lets others run first, as on a busy loop
    conn, names = db.connect(), ("lock_timeout", "transaction_isolation")
    async with AsyncClient(db.url) as client:
        await client.jobs.enqueue(JOB)
        for at in range(1, 300):
            cancelled = Cancelled(act(client), at, twice=twice)
            with suppress(asyncio.CancelledError):
                await cancelled
            await until(lambda: not conn.execute(BUSY).fetchone()[0])  # type: ignore[index]
            async with client.transaction() as tx:
                found = [await _shown(tx, name) for name in names]
            assert found == ["5s", "read committed"]
            if cancelled.suspended < at:
                break
        else:
            raise AssertionError("it never came to its end")
        pool = client._pooled._pool
        assert pool is not None
        await until(lambda: pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"], pool.get_stats)
    assert at >= 2


async def _shown(tx: AsyncTransaction, name: str) -> str:
    row = await (await tx.connection.execute(f"show {name}".encode())).fetchone()
    assert row is not None
    return str(row[0])


def _blocked_cancel(client: Client, id: int) -> None:
    client.jobs.cancel(id)


def _blocked_transaction(client: Client, id: int) -> None:
    with client.transaction() as tx:
        tx.jobs.enqueue(JOB)
        tx.connection.execute("select from perdure.job where id = %s for update", [id])


def _blocked_run(client: Client, id: int) -> None:
    def wait(tx: Transaction) -> None:
        tx.connection.execute("select from perdure.job where id = %s for update", [id])

    client.run(wait)


def _blocked_enqueue(client: Client, id: int) -> None:
    client.jobs.enqueue(JOB)


@pytest.mark.parametrize("act", [_blocked_cancel, _blocked_transaction, _blocked_run, _blocked_enqueue])
def test_ctrl_c_leaves_a_clean_connection(db: Database, act: Callable[[Client, int], None]) -> None:
    """A KeyboardInterrupt in the middle of a statement that waits for a lock ends the wait, nothing is written, no
    session stays in a transaction, and the client goes on working [KIT-15]. Red when nothing cancels the statement."""
    main, conn, watch = threading.main_thread().ident, db.connect(), db.connect()
    assert main is not None
    assert main == threading.get_ident()
    over = threading.Event()
    with Client(patient(db)) as client:
        id = client.jobs.enqueue(JOB).id
        conn.execute("begin")
        conn.execute("lock table perdure.job in access exclusive mode")

        def interrupt() -> None:
            waits = "select exists (select from pg_locks where not granted and locktype = 'relation')"
            while not watch.execute(waits).fetchone()[0]:  # type: ignore[index]
                if over.is_set():
                    return
            signal.pthread_kill(main, signal.SIGINT)

        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                act(client, id)
        finally:
            over.set()
            interrupter.join()
        conn.execute("rollback")

        assert conn.execute(BUSY).fetchone() == (0,)
        assert [job.id for job in client.jobs.list()] == [id]
        assert client.jobs.enqueue(JOB).id > id
