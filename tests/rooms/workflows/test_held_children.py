"""A parent's end reaches children that stand still."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import Workflow, WorkflowCancelled
from tests.rooms.workflows.stage import Stage


@pytest.mark.parametrize("how", ["paused", "held", "parked"])
def test_a_child_that_stands_still_ends_with_its_parent(stage: Stage, how: str) -> None:
    """A cancel reaches the tree: a child that somebody has paused, whether it waits or stands in its place, and one
    that is parked, whose code is mended since, goes on for that and undoes what it did [DW-203]. Red when only runs
    that wait hear of it: then the child stands there with what it did, and its own children, until it is resumed."""
    broken = [1] if how == "parked" else []

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def child(wf: Workflow) -> Any:
        await wf.step("a", stage.do, "child", compensate=undo)
        if broken:
            await wf.step("bad", 5)  # type: ignore[call-overload]
        await wf.signal("more")
        return await wf.signal("never")

    @stage.app.workflow
    async def parent(wf: Workflow) -> Any:
        return await wf.child(child, "c")

    async def play() -> None:
        workflows = stage.client.workflows
        async with stage.working():
            await stage.start(parent.run())
            if how == "parked":
                await stage.until_state("parked", "c")
                broken.clear()
            else:
                await stage.until_state("waiting", "c")
                await stage.ask(workflows.pause, "c")
            if how == "held":
                await stage.signal("more", id="c")
                await stage.until_true("select exists (select from perdure.held where reason = 'paused')")
            await stage.ask(workflows.cancel, "r")
            for id in ("r", "c"):
                with pytest.raises(WorkflowCancelled):
                    await stage.result(id)

    asyncio.run(play())
    assert stage.did == ["child", "undo child"]
