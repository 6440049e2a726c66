"""Jobs that a person pauses while they run, wait or have just been claimed, and lets go on."""

from __future__ import annotations

import asyncio
import threading

import pytest

from perdure import Client, JobSpec, Workflow
from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from perdure.core.errors import JobError, JobNotFound
from perdure.jobs.ops import pause as ops
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, claim_everything, until, working


@pytest.mark.parametrize("place", ["loop", "thread"])
async def test_a_running_job_is_paused_with_its_checkpoint_and_goes_on_there(stage: Stage, place: str) -> None:
    """A job that is paused while it runs stops, stands visibly in held with what it had reached saved and no attempt
    charged, and is left alone there; resumed, it goes on from that point, and at its end nothing is left of the pause
    [PAT-1, PAT-7]. Red when the stop of a pause gives the job back, or when its end is settled before the save."""
    app, began, reached, go = App("a"), list[int](), threading.Event(), threading.Event()
    go_on = asyncio.Event()

    @app.task(retry=Retry(max_attempts=1))
    async def loop(ctx: Context) -> int:
        began.append(ctx.restored or 0)
        for number in range((ctx.restored or 0) + 1, 7):
            await ctx.advance(number)
            if number == 3:
                reached.set()
                await go_on.wait()
        return 6

    @app.task(retry=Retry(max_attempts=1))
    def thread(ctx: Context) -> int:
        began.append(ctx.restored or 0)
        for number in range((ctx.restored or 0) + 1, 7):
            ctx.advance(number)
            if number == 3:
                reached.set()
                while not go.wait(0.005):
                    ctx.raise_if_cancelled()
        return 6

    task = loop if place == "loop" else thread
    (id,) = await stage.enqueue(task.job())
    async with working(stage.db, app):
        await until(reached.is_set)
        assert await stage.ask(ops.pause(id)) == "requested"
        [held] = await stage.until_in("held", id)
        assert await stage.rows("select value::text from perdure.checkpoint where job = %s", id) == [("3",)]
        go.set()
        go_on.set()
        assert (held.reason, held.attempt, await stage.endings(id)) == ("paused", 0, ["held"])
        assert await stage.ask(ops.resume(id)) == "resumed"
        [done] = await stage.until_in("history", id)
        await stage.until_true("select count(*) = 0 from perdure.pause")

    assert (done.result, done.attempt, began) == (6, 1, [0, 3])


async def test_a_job_that_is_resumed_before_it_has_stopped_goes_on_all_the_same(stage: Stage) -> None:
    """A job that has been told to stop, and is resumed before it has, stops then and is run again at once, and not set
    aside for good. Red when a pause is forgotten while its job is leased."""
    app, runs = App("a"), list[int]()
    told, go = threading.Event(), threading.Event()

    @app.task
    def work(ctx: Context) -> str:
        runs.append(len(runs))
        if len(runs) == 1:
            while not ctx.cancelled:
                go.wait(0.005)
            told.set()
            go.wait()
            ctx.raise_if_cancelled()
        return "done"

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        await until(lambda: runs)
        await stage.ask(ops.pause(id))
        await until(told.is_set)
        assert await stage.ask(ops.resume(id)) == "running"
        go.set()
        [done] = await stage.until_in("history", id)
        await stage.until_true("select count(*) = 0 from perdure.pause")

    assert (done.result, done.attempt, runs) == ("done", 1, [0, 1])


async def test_what_is_claimed_and_not_begun_is_set_aside(stage: Stage) -> None:
    """A paused job that its worker has claimed and not begun goes to held, uncharged, without the job before it being
    disturbed. Red when only what runs is looked at."""
    app, began, go = App("a"), list[int](), asyncio.Event()

    @app.task
    async def work(number: int) -> None:
        began.append(number)
        await go.wait()

    (first,) = await stage.enqueue(work.job(1))
    async with working(stage.db, app, queues={"default": 1}) as worker:
        await until(lambda: began)
        second, third = await stage.enqueue(work.job(2), work.job(3))
        await claim_everything(worker, stage)
        assert await stage.ask(ops.pause(second)) == "requested"
        await stage.until_in("held", second)
        go.set()
        await stage.until_in("history", first, third)
        await stage.ask(ops.resume(second))
        await stage.until_in("history", second)

    assert began == [1, 3, 2]


async def test_what_must_not_run_twice_is_not_stopped_by_a_pause(stage: Stage) -> None:
    """A job that must not run twice goes on when it is paused while it runs, and completes; the pause is forgotten
    [KIT-25]. Red when a pause stops it: it would wait for a review."""
    app, began, go = App("a"), asyncio.Event(), asyncio.Event()

    @app.task(at_most_once=True)
    async def pay() -> str:
        began.set()
        await go.wait()
        return "paid"

    (id,) = await stage.enqueue(pay.job())
    async with working(stage.db, app):
        await asyncio.wait_for(began.wait(), BOUND_SECONDS)
        await stage.ask(ops.pause(id))
        for _ in range(3):  # the second beat was sent after the pause; with the third its answer was heard
            beat = await stage.value("select max(expires_at) from perdure.worker")
            await stage.until_true("select max(expires_at) > %s from perdure.worker", beat)
        go.set()
        [done] = await stage.until_in("history", id)
        await stage.until_true("select count(*) = 0 from perdure.pause")

    assert (done.outcome, done.result) == ("completed", "paid")


def test_what_waits_is_set_aside_and_returns_to_where_it_was(stage: Stage) -> None:
    """A ready job and one that is due later are set aside at once, and return to ready and to their moment; what has
    ended, is a run, is unknown, or isn't paused is refused by a name of its own. Red when what is due later is resumed
    as due now."""
    app = App("a")

    @app.workflow
    async def flow(wf: Workflow) -> None: ...

    with Client(stage.db.url) as client:
        ready = client.jobs.enqueue(JobSpec(task="t", payload="{}")).id
        later = client.jobs.enqueue(JobSpec(task="t", payload="{}").options(delay=3_600)).id
        due = client.jobs.get(later).run_at
        assert [client.jobs.pause(id) for id in (ready, later, ready)] == ["paused"] * 3
        assert {client.jobs.get(id).reason for id in (ready, later)} == {"paused"}
        assert [client.jobs.resume(id) for id in (ready, later)] == ["resumed"] * 2
        assert (client.jobs.get(ready).place, client.jobs.get(later).place) == ("ready", "scheduled")
        assert client.jobs.get(later).run_at == due

        with pytest.raises(JobError, match="isn't paused"):
            client.jobs.resume(ready)
        client.jobs.cancel(ready)
        with pytest.raises(JobError, match="has ended"):
            client.jobs.pause(ready)
        with pytest.raises(JobNotFound):
            client.jobs.pause(1_000_000)
        run = client.workflows.start(flow.run(), id="r").job
        with pytest.raises(JobError, match=r"workflows\.pause"):
            client.jobs.pause(run)
    assert stage.conn.execute("select count(*) from perdure.pause").fetchone() == (0,)
