"""Tasks that say of themselves that they run at most once, as steps of runs."""

from __future__ import annotations

import asyncio

import pytest

from perdure import Retry, Workflow, WorkflowFailed
from tests.rooms.worker.stage import BOUND_SECONDS
from tests.rooms.workflows.stage import Stage


def test_a_task_that_runs_at_most_once_does_so_as_a_step(stage: Stage) -> None:
    """A step whose task runs at most once is recorded as begun before it is called: when it is cut off there, it has
    failed, to be reviewed, and isn't called again until a person lets it be retried [DW-190, DW-202]. Red without the
    look at the record: then a replay wires the money again."""
    begun, gate = asyncio.Event(), asyncio.Event()

    @stage.app.task(at_most_once=True)
    async def wire(what: str) -> str:
        stage.did.append(what)
        begun.set()
        await gate.wait()
        return what

    @stage.app.workflow
    async def pay(wf: Workflow) -> str:
        return await wf.step("wire", wire, "a million")

    async def play() -> None:
        await stage.start(pay.run())
        async with stage.working(drain_seconds=0.0):
            await asyncio.wait_for(begun.wait(), BOUND_SECONDS)
        assert (await stage.timeline())["wire"].state == "begun"
        gate.set()
        async with stage.working():
            with pytest.raises(WorkflowFailed, match="OutcomeUnknown: it had begun"):
                await stage.result()
            step = (await stage.timeline())["wire"]
            assert (step.state, step.outcome["reason"]) == ("failed", "needs_review")
            assert stage.did == ["a million"]
            await stage.ask(stage.client.workflows.retry, "r")
            assert await stage.result() == "a million"

    asyncio.run(play())
    assert stage.did == ["a million"] * 2


def test_a_task_that_runs_at_most_once_and_fails_isn_t_tried_again(stage: Stage) -> None:
    """What such a step raises is for a person to review, whatever its retry policy says, as it is of a job [DW-190].
    Red when the policy decides."""

    @stage.app.task(at_most_once=True)
    async def wire(what: str) -> str:
        stage.did.append(what)
        raise ConnectionError("reset")

    @stage.app.workflow
    async def pay(wf: Workflow) -> str:
        return await wf.step("wire", wire, "a million", retry=Retry(max_attempts=3, delays=(0.01,) * 2))

    async def play() -> None:
        async with stage.working():
            with pytest.raises(WorkflowFailed, match="ConnectionError: reset"):
                await stage.run(pay.run())
            assert (await stage.timeline())["wire"].outcome["reason"] == "needs_review"

    asyncio.run(play())
    assert stage.did == ["a million"]
