"""Where handlers run, in which order they start, and what becomes of what they return."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from tests.rooms.worker import children
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working


async def test_an_async_handler_runs_on_the_loop_and_its_result_is_kept(stage: Stage) -> None:
    """An async handler runs on the worker's loop; the job is in history as completed, with its result and its end, and
    nothing of it can be claimed again [DW-21]. Red when settling leaves the body in ``job``."""
    app, seen = App("a"), []

    @app.task
    async def add(left: int, right: int) -> int:
        seen.append(threading.get_ident())
        return left + right

    (id,) = await stage.enqueue(add.job(2, right=3))
    async with working(stage.db, app):
        (job,) = await stage.until_in("history", id)

    assert (job.outcome, job.result, job.attempt) == ("completed", 5, 1)
    assert job.finished_at is not None
    assert seen == [threading.get_ident()]
    assert await stage.counts() == {"history": 1}
    assert await stage.value("select count(*) from perdure.lease") == 0


async def test_sync_handlers_run_in_threads_side_by_side(stage: Stage) -> None:
    """Sync handlers run in threads of their own, as many at once as there are slots: these wait for each other."""
    app, meeting = App("a"), threading.Barrier(4, timeout=BOUND_SECONDS)

    @app.task
    def meet() -> bool:
        meeting.wait()
        return threading.current_thread() is not threading.main_thread()

    ids = await stage.enqueue(*[meet.job() for _ in range(4)])
    async with working(stage.db, app, queues={"default": 4}):
        jobs = await stage.until_in("history", *ids)

    assert [job.result for job in jobs] == [True] * 4


async def test_a_process_handler_runs_in_a_child(stage: Stage) -> None:
    """A handler with ``run_in="process"`` runs in another process, async or not, and its result and error come back."""
    returning, waiting, failing = await stage.enqueue(
        children.whose_process.job(), children.whose_process_async.job(), children.fails.job()
    )
    async with working(stage.db, children.app):
        jobs = await stage.until_in("history", returning, waiting)
        (dead,) = await stage.until_in("dead", failing)

    assert all(job.result not in (None, os.getpid()) for job in jobs)
    assert dead.error is not None
    assert "ValueError: no such thing" in dead.error


async def test_a_child_is_told_whose_job_it_runs(stage: Stage) -> None:
    """A process handler that asks for its context has one, with the job's id, key, attempt and fence. Red when the
    child is sent the arguments alone."""
    (id,) = await stage.enqueue(children.who.job(order_id=9182).options(key="order:9182"))
    async with working(stage.db, children.app):
        (job,) = await stage.until_in("history", id)

    assert job.result == [9182, id, "order:9182", 1, 0, False]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_a_handler_can_not_end_its_worker(stage: Stage, error: type[BaseException]) -> None:
    """What ends a program ends a job that raises it, and no more: the worker goes on. Red when it passes through."""
    app = App("a")

    @app.task(retry=Retry(max_attempts=1))
    async def work(bad: bool) -> None:
        if bad:
            raise error

    bad, good = await stage.enqueue(work.job(True), work.job(False))
    async with working(stage.db, app):
        await stage.until_in("dead", bad)
        await stage.until_in("history", good)


async def test_a_queue_that_no_task_names_is_warned_of(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A worker on a queue that its app doesn't know says so, with the queues it knows: it may be misspelt."""
    with caplog.at_level("WARNING", "perdure.worker"):
        async with working(stage.db, children.app, queues={"defualt": 1}):
            pass

    assert "no task of the app names the queue defualt (they name default)" in caplog.text


async def test_a_job_is_told_who_it_is(stage: Stage) -> None:
    """A handler that asks for its context learns the job's id, key, tags, attempt and fence [DW-45]."""
    app = App("a")

    @app.task
    async def look(ctx: Context) -> list[object]:
        job = ctx.job
        return [job.id, job.key, job.tags, ctx.attempt, ctx.fence.lease, ctx.fence.generation, ctx.cancelled]

    (id,) = await stage.enqueue(look.job().options(key="order:9182", tags=("a", "b")))
    async with working(stage.db, app):
        (job,) = await stage.until_in("history", id)

    lease = await stage.value("select lease from perdure.history where id = %s", id)
    assert job.result == [id, "order:9182", ["a", "b"], 1, lease, 0, False]


async def test_jobs_are_started_oldest_first(stage: Stage) -> None:
    """One worker starts 1,000 jobs in the order of their enqueue, and a lower priority number before that
    [DW-16, DW-17]. Red when the claim's batch isn't ordered by lane and position."""
    app, started = App("a"), []

    @app.task
    async def note(number: int) -> None:
        started.append(number)

    await stage.enqueue(*[note.job(number) for number in range(1, 1_001)])
    last, first = await stage.enqueue(note.job(1_001).options(priority=9), note.job(0).options(priority=0))
    async with working(stage.db, app, queues={"default": 3}):
        await stage.until_in("history", last, first)

    assert started == list(range(1_002))


async def test_no_transaction_is_open_while_a_handler_runs(stage: Stage) -> None:
    """No transaction that had begun before a handler started is open while it runs [DW-20]. Red when the claim holds
    its transaction for the handler."""
    app, running, go = App("a"), asyncio.Event(), asyncio.Event()

    @app.task
    async def wait() -> None:
        running.set()
        await go.wait()

    (id,) = await stage.enqueue(wait.job())
    async with working(stage.db, app):
        await asyncio.wait_for(running.wait(), BOUND_SECONDS)
        ours = "from pg_stat_activity where datname = current_database() and application_name ~ '^perdure'"
        sessions = await stage.value(f"select count(*) {ours}")
        now = await stage.value("select clock_timestamp()")
        await stage.until_true(f"select not exists (select {ours} and xact_start < %s)", now)
        still_runs = (await stage.job(id)).place
        go.set()
        await stage.until_in("history", id)

    assert sessions >= 2
    assert still_runs == "leased"


async def test_a_failing_and_a_hanging_job_leave_their_mates_alone(stage: Stage) -> None:
    """In one claimed batch a job that raises and one that hangs keep none of the others from completing once
    [DW-26]. Red when a batch is settled as a whole."""
    app, runs, go = App("a"), [], asyncio.Event()

    @app.task
    async def work(number: int) -> None:
        runs.append(number)
        if number == 3:
            raise ValueError("three")
        if number == 5:
            await go.wait()

    ids = await stage.enqueue(*[work.job(number) for number in range(10)])
    async with working(stage.db, app, queues={"default": 10}):
        mates = [id for number, id in enumerate(ids) if number not in (3, 5)]
        await stage.until_in("history", *mates)
        hanging, failed = await stage.job(ids[5]), await stage.endings(ids[3])
        await until(lambda: sorted(set(runs)) == list(range(10)))
        go.set()
        await stage.until_in("history", ids[5])

    assert hanging.place == "leased"
    assert failed[:1] == ["retry"]
    assert [runs.count(number) for number in range(10) if number != 3] == [1] * 9
