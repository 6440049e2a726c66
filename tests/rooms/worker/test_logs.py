"""What is logged of a job names it, so that one id finds the whole story."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from psycopg_pool.pool_async import MaintenanceTask

from perdure.app.context import Context
from perdure.app.logs import FORMAT, JobFields
from perdure.app.registry import App
from perdure.core import context
from perdure.core.backoff import Retry
from perdure.jobs.model import JobSpec
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, working


class _Kept(logging.Handler):
    """Keeps the lines, as the worker's command formats them, and the records."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self.addFilter(JobFields("w1"))
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_every_line_of_a_job_says_which_it_is(stage: Stage, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """The lines that a handler writes, and those about its failures and its death, carry its id, generation, attempt,
    key, worker and chain, on the loop and in threads; a line of nobody's has none [DW-173]. Red when the job isn't
    bound while its handler runs."""
    caplog.set_level("INFO")
    kept = _Kept()
    logging.getLogger().addHandler(kept)
    app, ours = App("a"), logging.getLogger("shop")
    policy = Retry(max_attempts=2, delays=(0.01,), jitter="none")

    @app.task(retry=policy)
    async def on_the_loop() -> None:
        ours.info("sending")
        raise ValueError("no paper")

    @app.task(retry=policy)
    def in_a_thread() -> None:
        ours.info("sending")
        raise ValueError("no paper")

    task = on_the_loop if kind == "async" else in_a_thread
    try:
        spec = task.job().options(key="order:9182", context={"correlation_id": "order-9182"})
        (id,) = await stage.enqueue(spec)
        async with working(stage.db, app):
            await stage.until_in("dead", id)
    finally:
        logging.getLogger().removeHandler(kept)
    story = [line for line in kept.lines if f"job={id} " in line]
    named = ("job", "generation", "attempt", "key", "worker")
    fields = [tuple(vars(record)[name] for name in named) for record in kept.records if vars(record)["job"]]

    assert fields == [(id, generation, generation + 1, "order:9182", "w1") for generation in (0, 0, 1, 1)]
    assert [line.rpartition(" [")[0].partition(": ")[2] for line in story] == [
        "sending",
        f"job {id} ({task.name}) failed: ValueError: no paper; attempt 1 of 2 failed, next in 0.010 s",
        "sending",
        f"job {id} ({task.name}) is dead: ValueError: no paper; attempt 2 of 2 failed",
    ]
    assert all("correlation_id=order-9182" in line for line in story)
    assert any(line.endswith("works on {'default': 50}") for line in kept.lines)


async def test_a_task_that_is_unknown_is_told_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The first job of a task that the app doesn't declare is told as held, with the task's name, and none after it; a
    worker that goes says so last. Red when each is told, or none."""
    caplog.set_level("INFO")
    ids = await stage.enqueue(*(JobSpec(task="nowhere", payload="{}") for _ in range(3)))
    async with working(stage.db, App("a")) as worker:
        for id in ids:
            await stage.until_in("held", id)
    told = [record.getMessage() for record in caplog.records if record.name in ("perdure.run", "perdure.worker")]

    assert [line for line in told if "nowhere" in line] == [
        f"job {ids[0]} is held for a worker that knows its task nowhere, as all of that task are: this app doesn't"
    ]
    assert told[-1].startswith(f"worker {worker.id} (")
    assert told[-1].endswith(") ends")


async def test_what_a_pool_does_by_itself_is_about_no_job(stage: Stage) -> None:
    """The connections of handlers are looked after by tasks that outlive the job whose handler was the first to ask,
    and whose log lines don't name it. Red when the pool is opened in the context of that job."""
    app, seen, done = App("a"), list[object](), asyncio.Event()

    class Look(MaintenanceTask):
        async def _run(self, pool: Any) -> None:
            seen.append(context.frame())
            done.set()

    @app.task
    async def asks(ctx: Context, again: bool) -> None:
        if again:
            await ctx.enqueue(asks.job(again=False))
            pool = ctx.desk.awaited._pool
            assert pool is not None
            assert context.frame() is not None
            pool.run_task(Look(pool))

    (id,) = await stage.enqueue(asks.job(again=True))
    async with working(stage.db, app):
        (job,) = await stage.until_in("history", id)
        await asyncio.wait_for(done.wait(), BOUND_SECONDS)

    assert (job.outcome, seen) == ("completed", [None])
