"""Jobs that are taken out of a living worker's hands."""

from __future__ import annotations

import asyncio
import threading

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.jobs.ops import leases
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working


async def test_a_handler_whose_job_was_taken_by_hand_is_told_to_stop(stage: Stage) -> None:
    """A person takes what a living worker holds: its handlers, on the loop and in a thread, are told to stop within two
    beats, what they leave is refused, and the runs that have begun there since are left alone and complete, uncharged
    [DW-102]. Red when a beat doesn't say what was taken, and when it is stopped by the job's number."""
    app, begun, told, heard = App("a"), list[str](), asyncio.Event(), threading.Event()

    @app.task
    async def waits() -> None:
        begun.append("loop")
        if begun.count("loop") > 1:
            await told.wait()
            return
        try:
            await asyncio.Event().wait()
        finally:
            told.set()

    @app.task
    def blocks(ctx: Context) -> None:
        begun.append("thread")
        if begun.count("thread") > 1:
            heard.wait(BOUND_SECONDS)
            return
        while not ctx.cancelled:
            heard.wait(0.01)
        heard.set()

    async with working(stage.db, app, queues={"default": 4}) as worker:
        ids = await stage.enqueue(waits.job(), blocks.job())
        await stage.until_all_in("leased", ids)
        await until(lambda: len(begun) == 2)
        assert await stage.ask(leases.release(worker.id, "they make no progress")) == 2
        jobs = await stage.until_in("history", *ids)
        await until(lambda: worker._settler.counts["stale"] == 2)

    assert sorted(begun) == ["loop", "loop", "thread", "thread"]
    assert [(job.outcome, job.attempt) for job in jobs] == [("completed", 1)] * 2
