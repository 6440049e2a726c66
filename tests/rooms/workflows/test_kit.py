"""The testing kit: two weeks in a moment, and a stored history over changed code."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perdure import App, Diverged, StepTimeout, Workflow
from perdure.core.errors import InvalidOption, WaitTimeout
from perdure.core.run_errors import WorkflowFinished
from perdure.testing import replay, runner, running, skip
from tests.rooms.workflows.stage import Stage


def test_time_passes_at_once_for_runs_that_wait(stage: Stage) -> None:
    """A sleep of a day and a time-out of two weeks pass when the test says so, no sooner, the run's own clock says that
    they have, and a stored history is replayed over the code, whether it fits or not (and what is then to be done is
    said, of its steps and of its arguments), and refused when the run has ended, or is of a workflow that the app
    lacks, which is named [DW-195]."""
    app, changed, widened = App("shop"), App("shop"), App("shop")

    @app.workflow
    async def shop(wf: Workflow) -> float:
        await wf.step("a", stage.do, "a")
        began = wf.now()
        await wf.sleep(timedelta(days=1))
        try:
            await wf.signal("paid", timeout=timedelta(days=14))
        except StepTimeout:
            await wf.step("b", stage.do, "b")
        return (wf.now() - began) / timedelta(days=1)

    @changed.workflow(name="shop")
    async def other(wf: Workflow) -> None:
        await wf.sleep(timedelta(days=1))
        await wf.step("b", stage.do, "b")

    @widened.workflow(name="shop")
    async def wider(wf: Workflow, cents: int) -> None: ...

    workflows = stage.client.workflows
    with running(app, stage.db.url):
        workflows.start(shop.run(), id="r")
        _until(stage, "select count(*) = 1 from perdure.waiting")
        assert skip(stage.db.url, timedelta(hours=23)) == 1
        assert [each.id for each in replay(stage.client, app, "r")] == ["r"]
        with pytest.raises(
            Diverged, match=r"(?s)^r: the run has recorded .*; restore the step, or guard .*\+ +\S[^;]*$"
        ):
            replay(stage.client, changed)
        with pytest.raises(
            Diverged, match=r"^r: its arguments don't fit: \w+: is missing; .*; give a new argument a def"
        ):
            replay(stage.client, widened)
        with pytest.raises(
            InvalidOption, match=r"^app: declares no workflow 'shop', which the run 'r' is of; give the a"
        ):
            replay(stage.client, App("other"), "r")
        assert workflows.get("r").state == "waiting"
        assert skip(stage.db.url, timedelta(hours=1), id="r") == 1
        _until(stage, "select count(*) = 1 from perdure.step where name = 'signal paid'")
        _until(stage, "select count(*) = 1 from perdure.waiting")
        skip(stage.db.url, timedelta(days=14))
        assert 15 <= workflows.wait("r", timeout=30) < 15.1
        with pytest.raises(WorkflowFinished):
            replay(stage.client, app, "r")
    assert stage.did == ["a", "b"]


def test_a_worker_that_can_t_begin_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits for the test's own open transaction, which has made its queue, is given up and said so. Red
    when the block is entered without a worker."""
    app = App("shop")

    @app.task(queue="fresh")
    def mail() -> None: ...

    monkeypatch.setattr(runner, "START_SECONDS", 0.5)
    with stage.client.transaction() as tx:
        tx.jobs.enqueue(mail.job())
        with pytest.raises(WaitTimeout, match="the worker hasn't begun within"), running(app, stage.db.url):
            raise AssertionError("it has begun")


def _until(stage: Stage, query: str) -> None:
    while not stage.value(query):
        pass
