"""A handler on the loop that swallows being told to stop, however often."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from perdure.jobs.loops.runner import Runner
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

ONCE = Retry(max_attempts=1)


@pytest.mark.parametrize("how", ["timeout", "cancelled", "transaction"])
async def test_a_coroutine_that_never_heeds_loses_its_job_and_keeps_its_slot(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """The job of a handler that swallows every cancellation ends all the same, as a thread's does, and is named; what
    the handler still leaves is dropped; its slot counts as lost, and is free again when it has ended. A transaction of
    its own holds its job until then, and is rolled back [KIT-45]. Red when it is only told again, and when that is
    committed."""
    monkeypatch.setattr(Runner, "STOP_AGAIN_SECONDS", 0.01)
    app, running, free = App("a"), asyncio.Event(), asyncio.Event()

    @app.task(retry=ONCE, timeout=0.05 if how == "timeout" else None)
    async def deaf(ctx: Context) -> str:
        if how == "transaction":
            async with ctx.transaction() as tx:
                await tx.connection.execute("create table late ()")
        running.set()
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()
        return "late"

    @app.task
    async def next_one() -> None: ...

    place = "dead" if how == "timeout" else "history"
    (id,) = await stage.enqueue(deaf.job())
    async with working(stage.db, app, queues={"default": 1}) as worker:
        try:
            await asyncio.wait_for(running.wait(), BOUND_SECONDS)
            if how != "timeout":
                await stage.cancel(id)
            await until(lambda: f"job {id} (deaf) has been told to stop 10 times" in caplog.text)
            if how != "transaction":
                await stage.until_in(place, id)
            found = worker.gauges()["queues"]["default"]
            assert (found["busy"], found["lost"]) == (1, 1)
            (after,) = await stage.enqueue(next_one.job())
        finally:
            free.set()  # whatever failed: the loop can't be closed over it
        await stage.until_in("history", after)
        (job,) = await stage.until_in(place, id)
        assert worker.gauges()["queues"]["default"]["lost"] == 0

    assert job.outcome == (None if how == "timeout" else "cancelled")
    assert await stage.value("select to_regclass('late')") is None
