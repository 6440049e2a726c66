"""A rolling deploy: workers of two versions share a queue, and the old one doesn't know every task."""

from __future__ import annotations

import pytest

from perdure.app.registry import App
from perdure.jobs.model import JobSpec
from tests.rooms.worker.stage import Stage, until, working


async def test_an_unknown_task_waits_for_a_worker_that_knows_it(stage: Stage) -> None:
    """A job whose task the worker doesn't know is parked with that reason, charging no attempt, beside mates that
    complete; a worker that knows it comes, and it runs [DW-27]. Red when an unknown task fails, or isn't released."""
    old, new = App("shop"), App("shop")

    @old.task
    async def known() -> str:
        return "old"

    @new.task
    async def ship(order_id: int) -> int:
        return order_id

    parked, mate = await stage.enqueue(JobSpec(task="ship", payload='{"order_id": 9182}'), known.job())
    async with working(stage.db, old):
        (held,) = await stage.until_in("held", parked)
        await stage.until_in("history", mate)
    async with working(stage.db, new):
        (job,) = await stage.until_in("history", parked)

    assert (held.reason, held.attempt, held.error) == ("unknown_task", 0, None)
    assert (job.outcome, job.result, job.attempt) == ("completed", 9182, 1)


async def test_a_worker_leaves_the_queues_alone_that_its_app_does_not_name(stage: Stage) -> None:
    """A worker whose tasks all stand on queues of their own takes nothing from ``default``, where another app's jobs
    wait: it could only park them, for seconds [DW-27]. Red when ``default`` is one of every worker's queues."""
    app = App("shop")

    @app.task(queue="mail")
    async def send() -> None: ...

    foreign, mate = await stage.enqueue(JobSpec(task="another", payload="{}"), send.job())
    async with working(stage.db, app) as worker:
        await stage.until_in("history", mate)
        named = set(worker.gauges()["queues"])
    (left,) = await stage.until_in("ready", foreign)

    assert (named, left.generation) == ({"mail"}, 0)


async def test_a_parked_job_does_not_keep_its_mates_from_running(stage: Stage) -> None:
    """A queue full of jobs that nobody knows is parked whole, and the known job behind them runs [DW-26, DW-27]."""
    app = App("shop")

    @app.task
    async def known() -> str:
        return "known"

    unknown = await stage.enqueue(*[JobSpec(task=f"new_{number % 3}", payload="{}") for number in range(300)])
    (mate,) = await stage.enqueue(known.job())
    async with working(stage.db, app, queues={"default": 5}):
        await stage.until_in("history", mate)
        await stage.until_all_in("held", unknown)
    counted = await stage.rows("select reason, key, count(*) from perdure.held group by 1, 2 order by 2")

    assert counted == [("unknown_task", f"new_{number}", 100) for number in range(3)]


async def test_a_job_parked_after_its_worker_has_started_is_released(stage: Stage) -> None:
    """In a rolling deploy the old worker may park a job long after a worker that knows it has started; once the old one
    is gone the job is ready again [DW-27]. Red when jobs are released at a worker's start only."""
    old, new = App("shop"), App("shop")

    @new.task
    async def ship() -> None:
        pass

    async with working(stage.db, new, queues={"default": 1}) as worker:
        await until(lambda: worker._claimer.asleep)
        (id,) = await stage.enqueue(JobSpec(task="ship", payload="{}", queue="other"))
        async with working(stage.db, old, queues={"other": 1}):
            await stage.until_true("select exists (select from perdure.attempt where job = %s and ending = 'held')", id)
        await stage.until_in("ready", id)


async def test_a_release_that_failed_is_done_again(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A worker whose release of parked jobs runs into a lock releases them when the lock is gone. Red when the
    release is tried once in a worker's life."""
    old, new = App("shop"), App("shop")

    @new.task
    async def ship() -> None:
        pass

    (id,) = await stage.enqueue(JobSpec(task="ship", payload="{}"))
    async with working(stage.db, old):
        await stage.until_in("held", id)
    other = stage.db.connect()
    other.execute("begin")
    other.execute("lock table perdure.ready in share mode")
    caplog.set_level("INFO", "perdure.chores")
    async with working(stage.db, new):
        await until(lambda: "release waits for another transaction" in caplog.text)
        other.execute("commit")
        await stage.until_in("history", id)
