"""What a handler may do on behalf of its job: enqueue others."""

from __future__ import annotations

import pytest

from perdure import App, Context
from perdure.core.errors import Unsupported
from tests.rooms.worker import children
from tests.rooms.worker.stage import Stage, working


async def test_a_handler_enqueues_jobs_wherever_it_runs(stage: Stage) -> None:
    """A handler on the loop awaits ``ctx.enqueue``, one in a thread or in a child calls it; each job it wrote is
    there with its options, under the id that the handler was given. Red when the runner's contexts have no desk."""
    app = App("a")

    @app.task
    async def awaits(ctx: Context) -> int:
        enqueued: int = (await ctx.enqueue(children.whose_process.job(), key="loop")).id
        return enqueued

    @app.task
    def calls(ctx: Context) -> int:
        enqueued: int = ctx.enqueue(children.whose_process.job(), key="thread").id
        return enqueued

    for task in (children.enqueues, children.enqueues_async):
        app._add(task)
    ids = await stage.enqueue(awaits.job(), calls.job(), children.enqueues.job(), children.enqueues_async.job())
    async with working(stage.db, app):
        ended = await stage.until_in("history", *ids)
        jobs = [await stage.job(job.result) for job in ended]

    assert [job.key for job in jobs] == ["loop", "thread", "child", "async child"]


def test_a_context_without_a_worker_says_so() -> None:
    """What a handler is given outside of a worker refuses to enqueue, and says what it lacks."""
    ctx = Context(children.claimed())

    with pytest.raises(Unsupported, match="has no worker behind it"):
        ctx.enqueue(children.whose_process.job())
