"""Clients and full queues: who waits for room, and who must not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from perdure import App, AsyncClient, Client
from perdure.core.errors import QueueSaturated
from tests.conftest import Database
from tests.rooms.client.shop import send_receipt

JOB = send_receipt.job(order_id=9182)
ORDER = """
select h.finished_at <= j.created_at from perdure.history h cross join perdure.job j
where j.id = (select max(id) from perdure.job)
"""
"""Whether the last job was written after the only one that has ended had ended."""


def _declaring(deadline: float) -> App:
    app = App("shop")
    app.queue(JOB.queue, max_depth=2, when_full="block", deadline=deadline)
    return app


def test_an_enqueue_waits_for_room_outside_of_any_transaction(db: Database) -> None:
    """In a queue that lets its enqueuers wait, an enqueue comes back once there is room, and holds up nobody who
    enqueues elsewhere; in a transaction it is refused at once, because nothing may wait there [ARC-7, ARC-13]."""
    with Client(db.url) as client:
        client.queues.declare(_declaring(600))
        first, _ = client.jobs.enqueue_many([JOB, JOB])
        with client.transaction() as tx, pytest.raises(QueueSaturated):
            tx.jobs.enqueue(JOB)
        with db.connect() as own, own.transaction(), pytest.raises(QueueSaturated):
            client.on(own).jobs.enqueue(JOB)

        waited = threading.Event()

        def enqueue() -> None:
            client.jobs.enqueue_many([JOB])
            waited.set()

        waiting = threading.Thread(target=enqueue)
        waiting.start()
        client.jobs.enqueue(JOB.options(queue="other"))
        assert not waited.is_set()
        client.jobs.cancel(first.id)
        waiting.join(60)

        assert waited.is_set()
        assert db.connect().execute(ORDER).fetchall() == [(True,)]
        assert {queue.name: queue.ready for queue in client.queues.list()} == {JOB.queue: 2, "other": 1}


async def test_a_wait_for_room_ends_at_its_deadline(db: Database) -> None:
    """Past its deadline an enqueue that waited is refused and says so; others waited beside it on the same loop."""
    async with AsyncClient(db.url) as client:
        [declared] = await client.queues.declare(_declaring(0.3))
        await client.jobs.enqueue_many([JOB, JOB])
        ended = await asyncio.gather(*[client.jobs.enqueue(JOB) for _ in range(20)], return_exceptions=True)

    assert declared.changed
    assert {type(each) for each in ended} == {QueueSaturated}
    assert all("waited 0.3 s" in str(each) for each in ended)


def test_those_that_fit_are_taken_though_others_are_refused(db: Database) -> None:
    """Threads whose jobs go out in one statement are refused one by one: as many are accepted as there is room for."""
    with Client(db.url) as client:
        app = App("shop")
        app.queue(JOB.queue, max_depth=10)
        client.queues.declare(app)
        refused: list[QueueSaturated] = []

        def enqueue() -> None:
            try:
                client.jobs.enqueue(JOB)
            except QueueSaturated as error:
                refused.append(error)

        threads = [threading.Thread(target=enqueue) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        [queue] = client.queues.list()
        assert (queue.ready, len(refused)) == (10, 30)
