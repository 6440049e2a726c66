"""A worker and the bounds of its queues: it declares them, counts what stands in them, and lets in those in line."""

from __future__ import annotations

import asyncio

import pytest

from perdure.admin.doctor.bounds import kept_up
from perdure.admin.model import Subject
from perdure.app.registry import App
from perdure.core import limits
from perdure.jobs.bounds import Queue
from perdure.jobs.ops.queues import list_queues
from tests.conftest import Database
from tests.rooms.worker.stage import Stage, until, working


async def test_what_waits_in_line_runs_in_order_as_room_comes(db: Database, stage: Stage) -> None:
    """With room for five, two hundred jobs run, none lost and in the order of their enqueue, and how many were let in
    is counted [ARC-7]. Guard: the sampler lets in those who wait."""
    app = App("shop")
    app.queue("mail", max_depth=5, when_full="spill")
    ran: list[int] = []

    @app.task(queue="mail")
    async def send(number: int) -> None:
        ran.append(number)

    async with working(db, app, queues={"mail": 1}) as worker:
        ids = []
        for number in range(0, 200, 10):
            ids += await stage.enqueue(*[send.job(number=each) for each in range(number, number + 10)])
        await stage.until_all_in("history", ids)
        done = {each.labels: each.value for each in worker.samples() if each.name == "perdure_chore_done_total"}
    assert ran == list(range(200))
    assert 0 < float(str(done["advance",])) <= 195


async def test_a_queue_in_debt_is_told_before_any_job_fails(
    db: Database, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When more comes than a slow worker ends, the queue is in debt although nothing has failed: it shows both rates
    and how long it would drain, in the client, in status and to the doctor; once it keeps up it is open again
    [ARC-14, ARC-9]. Red when the state follows errors alone."""
    monkeypatch.setattr(limits, "DEBT_SECONDS", 1.0)
    monkeypatch.setattr(limits, "SAMPLE_UNBOUNDED_SECONDS", 0.05)
    app = App("shop")
    may_end = asyncio.Semaphore(0)

    @app.task(queue="mail")
    async def send() -> None:
        await may_end.acquire()

    sent: list[int] = []

    async def mail() -> Queue:
        return next(queue for queue in await stage.ask(list_queues()) if queue.name == "mail")

    async def is_in_debt() -> bool:
        sent.extend(await stage.enqueue(*[send.job()] * 4))
        may_end.release()
        queue = await mail()
        return queue.state == "in_debt" and queue.ended_per_second > 0  # which a beat brings

    async def is_open() -> bool:
        queue = await mail()
        return (queue.state, queue.ready, queue.leased, queue.oldest_seconds) == ("open", 0, 0, None)

    async with working(db, app, queues={"mail": 1}):
        await stage.enqueue(send.job().options(delay=86_400))
        await until(is_open)
        await until(is_in_debt)
        queue = await mail()
        [found] = [each for each in await stage.ask(kept_up(Subject(db.url, "perdure"))) if each.check == "queues.debt"]
        for _ in sent:
            may_end.release()
        await until(is_open)

    assert queue.arrived_per_second is not None
    assert queue.arrived_per_second > queue.ended_per_second > 0
    assert queue.drain_seconds == queue.ready / queue.ended_per_second
    assert (found.status, found.evidence["mail"]["state"]) == ("warn", "in_debt")
    assert await stage.value("select count(*) from perdure.attempt") == 0
