"""What a workflow's author can get wrong is told by name, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import time

import pytest

from perdure import App, StepFailed, Workflow
from perdure.core.run_errors import InvalidWorkflow, WorkflowNotFound
from perdure.fleet.loops import monitor
from tests.rooms.workflows.stage import Stage


def test_a_workflow_that_isn_t_one_is_refused_where_it_is_declared() -> None:
    """A plain function, one that takes no handle, and a version declared twice are refused at the declaration, by name
    [DW-206]. Red when a plain function is taken: it would block the loop."""
    app = App("shop")

    def plain(wf: Workflow) -> None: ...

    async def bare(order: int) -> None: ...

    async def fine(wf: Workflow) -> None: ...

    for function, told in ((plain, "async"), (bare, "handle")):
        with pytest.raises(InvalidWorkflow, match=told) as refused:
            app.workflow(function)  # type: ignore[arg-type]
        assert refused.value.field == function.__name__
        assert refused.value.fix
    app.workflow(fine)
    with pytest.raises(Exception, match="fine"):
        app.workflow(fine)


def test_code_that_blocks_the_loop_is_named(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A workflow's own code that keeps the loop is named with where it had come to; a step that does is found by the
    watchman of ``perdure dev``, with its line. The runs end as if nothing had been. Red without the measuring of a
    turn, and without the watchman's own thread."""

    async def blocks() -> int:
        time.sleep(0.6)
        return 1

    @stage.app.workflow
    async def slow(wf: Workflow) -> int:
        time.sleep(0.3)
        await wf.step("one", stage.do, 1)  # the loop goes round while that is recorded
        return await wf.step("blocks", blocks)

    async def play() -> None:
        monitor.watch(0.2)
        async with stage.working():
            assert await stage.run(slow.run()) == 1

    asyncio.run(play())
    told = {record.name: record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    assert "the code of slow kept the event loop" in told["perdure.workflows"]
    assert any("in blocks" in each.getMessage() for each in caplog.records if each.name == "perdure.loop")


def test_a_signal_to_nobody_and_a_result_of_no_form_are_told(stage: Stage) -> None:
    """A signal to a run that never was is an error of its own, and keeps nothing; a step whose result has no JSON form
    fails by name, with its effect done once [DW-198, DW-207]."""

    @stage.app.workflow
    async def odd(wf: Workflow) -> str:
        try:
            await wf.step("odd", stage.do_sync, object())
        except StepFailed as failed:
            return failed.kind
        return ""

    async def play() -> None:
        with pytest.raises(WorkflowNotFound):
            await stage.signal("paid", 1, id="nobody")
        async with stage.working():
            assert await stage.run(odd.run()) in ("Unserialisable", "InvalidArgument")

    asyncio.run(play())
    assert len(stage.did) == 1
    assert stage.value("select count(*) from perdure.signal") == 0
