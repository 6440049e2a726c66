"""A workflow's runs are started: whoever enqueues one as a job is told, at the earliest place that knows."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from perdure import App, JobSpec, Workflow
from perdure.cli.program import run
from perdure.core.errors import InvalidOption, InvalidTask, UnknownTask
from perdure.core.run_errors import InvalidWorkflow
from tests.rooms.workflows.stage import Stage


def test_a_workflow_is_not_enqueued_by_its_name(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once a worker has named a workflow, SQL and the command line refuse to enqueue it, by field and fix, and write
    nothing; a task whose name looks like one is enqueued. Red without the check in enqueue_v1, or in the command."""
    monkeypatch.setenv("DATABASE_URL", stage.db.url)

    @stage.app.workflow
    async def shop(wf: Workflow) -> None: ...

    async def play() -> None:
        async with stage.working():
            pass

    asyncio.run(play())
    with pytest.raises(psycopg.ProgrammingError, match="shop/1 is a workflow") as refused:
        stage.conn.execute("select perdure.enqueue_v1('shop/1')")
    code = run(["enqueue", "shop/1"])
    said = capsys.readouterr()
    ids = stage.rows("select perdure.enqueue_v1('shop/2'), perdure.enqueue_v1('shop')")

    assert (refused.value.diag.sqlstate, refused.value.diag.column_name) == ("PD001", "task")
    assert "client.workflows.start" in (refused.value.diag.message_hint or "")
    assert (code, said.out) == (2, "")
    assert said.err.startswith("error: TASK: shop/1 is a workflow")
    assert "client.workflows.start" in said.err
    assert stage.value("select count(*) from perdure.job") == len(ids[0])
    assert run(["enqueue", "report/2024"]) == 0


def test_a_workflow_that_was_enqueued_all_the_same_is_dead_at_once(stage: Stage) -> None:
    """A job in a workflow's name that no start has written is dead after one attempt, with the fix in its error. Red
    when it is tried again, as its run might come."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None: ...

    job = stage.client.jobs.enqueue(JobSpec(task="shop/1", payload="{}"))

    async def play() -> None:
        async with stage.working():
            await stage.until_true("select exists (select from perdure.dead where id = %s)", job.id)

    asyncio.run(play())
    found = stage.client.jobs.get(job.id)
    assert (found.reason, found.attempt) == ("permanent", 1)
    assert "client.workflows.start" in str(found.error)


def test_an_app_tells_its_workflows_from_its_tasks(stage: Stage) -> None:
    """What looks a task up, and what enqueues, says of a workflow that it is one; no task is called as the runs of one
    are, nor the other way round. Red when the later declaration takes the earlier one's jobs."""
    app, other = App("shop"), App("other")

    async def shop(wf: Workflow) -> None: ...

    def plain() -> None: ...

    flow = app.workflow(shop)
    other.task(name="shop/1")(plain)
    for name in ("shop", "shop/1"):
        with pytest.raises(UnknownTask, match=f"{name} is a workflow"):
            app.find(name)
    with pytest.raises(InvalidTask, match="already has a version of a workflow"):
        app.task(name="shop/1")(plain)
    with pytest.raises(InvalidWorkflow, match="already has a task shop/1"):
        other.workflow(shop)
    job: Any
    for job in (flow, flow.run()):
        with pytest.raises(InvalidOption, match=r"workflows\.start"):
            stage.client.jobs.enqueue(job)
