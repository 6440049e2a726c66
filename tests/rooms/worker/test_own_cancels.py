"""Cancellations of a slot's task that are its job's, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.app.worker import Worker
from perdure.core.backoff import Retry
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, claim_everything, working

ONCE = Retry(max_attempts=1)


async def test_a_swallowed_cancellation_does_not_reach_the_next_job(stage: Stage) -> None:
    """A handler that swallows its timeout leaves its slot as it found it: the next job there counts no cancellation,
    and fails by itself when something inside it is cancelled, and the one after that runs. Red when the slot's task
    keeps the cancellation."""
    app, counted = App("a"), list[int]()

    @app.task(retry=ONCE, timeout=0.1)
    async def swallow() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "done all the same"

    @app.task(retry=ONCE)
    async def cancelled_inside() -> None:
        task = asyncio.current_task()
        assert task is not None
        counted.append(task.cancelling())
        raise asyncio.CancelledError

    @app.task
    async def last() -> None: ...

    swallowed, inside, after = await stage.enqueue(swallow.job(), cancelled_inside.job(), last.job())
    async with working(stage.db, app, queues={"default": 1}):
        await stage.until_in("history", swallowed, after)
        (dead,) = await stage.until_in("dead", inside)

    assert counted == [0]
    assert "CancelledError" in str(dead.error)


@pytest.mark.parametrize("then", ["waits", "returns", "raises"])
async def test_a_handler_that_cancels_its_own_task_has_failed(stage: Stage, then: str) -> None:
    """It fails as any other, whatever it does then, and what it has reached is kept; the next job in its slot knows
    nothing of it [KIT-45]. Red when its cancellation ends the slot, which no timeout or worker has told to, and when it
    is thrown into the next job."""
    app = App("a")

    @app.task(retry=ONCE)
    async def gives_up() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if then == "waits":
            await asyncio.Event().wait()
        return "done"

    @app.task(retry=ONCE, name="raises")
    async def fails(ctx: Context) -> None:
        await ctx.advance(7)
        await gives_up.function()
        raise ValueError("so there")

    @app.task(retry=ONCE)
    async def next_one() -> None:
        await asyncio.sleep(0)

    id, after = await stage.enqueue((fails if then == "raises" else gives_up).job(), next_one.job())
    async with working(stage.db, app, queues={"default": 1}):
        await stage.until_in("history", after)
        (job,) = await stage.until_in("dead", id)

    assert ("so there" if then == "raises" else "the handler waited for was cancelled") in str(job.error)
    assert (job.reason, job.attempt) == ("exhausted", 1)
    if then == "raises":
        assert await stage.rows("select job, value::text from perdure.checkpoint") == [(id, "7")]


async def test_a_worker_that_is_torn_down_with_its_slots_charges_no_job(stage: Stage) -> None:
    """When all tasks of a program are cancelled, as at the end of its loop, the handler that runs hasn't cancelled its
    own, and what waits behind it isn't started any more: both are somebody else's to run. Red when the runners aren't
    told first that the worker ends."""
    app, runs, running = App("a"), list[int](), asyncio.Event()

    @app.task
    async def work(number: int) -> None:
        runs.append(number)
        running.set()
        await asyncio.Event().wait()

    first, second = await stage.enqueue(work.job(1), work.job(2))
    worker = Worker(app, stage.db.url, queues={"default": 1})
    whole = asyncio.create_task(worker.run())
    await asyncio.wait_for(running.wait(), BOUND_SECONDS)
    await claim_everything(worker, stage)
    (slot,) = worker._runners[0].slots
    assert slot.task is not None
    slot.task.cancel()
    whole.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await whole

    assert runs == [1]
    assert [(await stage.job(id)).place for id in (first, second)] == ["leased", "leased"]
    assert await stage.endings(first) == []
