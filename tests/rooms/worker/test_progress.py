"""Progress: what handlers say of it, how it is shown, and who has stopped advancing."""

from __future__ import annotations

import asyncio

from perdure.app.client import AsyncClient
from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.errors import JobNotFound
from perdure.jobs.ops.progress import Stuck
from tests.rooms.worker import children
from tests.rooms.worker.stage import Stage, until, working


async def test_the_last_report_is_shown_with_its_rate_and_what_is_left(stage: Stage) -> None:
    """On the loop, in a thread and in a child process the last report is written soon, without the handler waiting for
    it; the rate counts from the first report of the run. Red when a report replaces where its run began."""
    app, release = App("a"), asyncio.Event()

    @app.task
    async def on_loop(ctx: Context) -> None:
        for n in range(10_001):
            ctx.progress(n, 20_000, "half of it")
        await release.wait()

    @app.task
    def in_thread(ctx: Context) -> None:
        ctx.progress(1, 4)
        while not release.is_set():
            ctx.progress(3, 4, "nearly")

    first, second = await stage.enqueue(on_loop.job(), in_thread.job())
    async with AsyncClient(stage.db.url) as client, working(stage.db, app):

        async def told(id: int, n: float) -> bool:
            return (await client.jobs.progress(id)).n == n

        await until(lambda: told(first, 10_000))
        await until(lambda: told(second, 3))
        stage.conn.execute("update perdure.progress set began_n = 0, began_at = reported_at - interval '10 s'")
        shown = await client.jobs.progress(first)
        release.set()
        await stage.until_all_in("history", [first, second])
        try:
            await client.jobs.progress(second + 1)
        except JobNotFound:
            pass
        else:
            raise AssertionError("there is no such job")

    assert (shown.total, shown.message, shown.rate, shown.eta_seconds) == (20_000, "half of it", 1_000, 10)


async def test_a_child_process_reports_too(stage: Stage) -> None:
    """A handler in a child process writes its reports by itself, at most one a second, and the last one at once."""
    (id,) = await stage.enqueue(children.reports.job())
    async with working(stage.db, children.app):
        await stage.until_in("dead", id)

    assert await stage.rows("select n, total, message from perdure.progress") == [(9, 9, "done")]


async def test_a_job_that_runs_without_advancing_is_flagged(stage: Stage) -> None:
    """A job that goes on reporting the same, or saving the same, is stuck, however healthy its worker; one that
    advances, and one that never says anything, are not [PAT-7]. Red when any report counts as an advance."""
    app, release, still = App("a"), asyncio.Event(), list[Stuck]()

    @app.task
    async def frozen(ctx: Context) -> None:
        while not release.is_set():
            ctx.progress(5, 10)
            await asyncio.sleep(0.01)

    @app.task
    async def saving(ctx: Context) -> None:
        while not release.is_set():
            await ctx.checkpoint("the same")

    @app.task
    async def moving(ctx: Context) -> None:
        number = 0
        while not release.is_set():
            number += 1
            await ctx.checkpoint(number)

    @app.task
    async def silent() -> None:
        await release.wait()

    ids = await stage.enqueue(frozen.job(), saving.job(), moving.job(), silent.job())
    async with AsyncClient(stage.db.url) as client, working(stage.db, app):
        await stage.until_all_in("leased", ids)

        async def flagged() -> bool:
            still[:] = sorted(await client.jobs.stuck(seconds=2.5), key=lambda each: each.id)
            return [each.id for each in still] == ids[:2]

        await until(flagged)
        release.set()
        await stage.until_all_in("history", ids)
        assert await client.jobs.stuck(seconds=0.001) == []

    assert {each.task for each in still} == {"frozen", "saving"}
    assert all(each.still_seconds >= 2.5 for each in still)
