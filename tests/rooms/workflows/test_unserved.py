"""A step for which the worker has no connection: the run is loaded anew, and the step isn't charged for that."""

from __future__ import annotations

import asyncio

import pytest

from perdure import Context, Retry, Workflow
from perdure.app.client import opening
from tests.rooms.workflows.stage import Stage


def test_want_of_a_connection_is_charged_to_no_step(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step with a single attempt that waits in vain for a connection of its worker's is called again, in its first
    attempt, and the run completes. Red when want of one is judged like any other error, which fails the run."""
    seen: list[int] = []
    stage.app.queue("default", connections=1)

    @stage.app.task
    async def other() -> None: ...

    async def enqueues(ctx: Context) -> int:
        seen.append(ctx.attempt)
        if len(seen) == 1:
            with monkeypatch.context() as impatient:
                impatient.setattr(opening, "CONNECTION_SECONDS_MAX", 0.2)
                async with ctx.desk.awaited.connection():
                    await ctx.enqueue(other.job())
        return ctx.attempt

    @stage.app.workflow
    async def shop(wf: Workflow) -> int:
        attempt: int = await wf.step("enqueues", enqueues, retry=Retry(max_attempts=1))
        return attempt

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == 1
            assert (await stage.timeline())["enqueues"].attempt == 1

    asyncio.run(play())
    assert seen == [1, 1]
