"""Runs and the bounds of their queues: a run asks for room as a job does, and is never discarded for another."""

from __future__ import annotations

import asyncio

import pytest

from perdure import Workflow, context
from perdure.core.errors import ContextMissing, QueueSaturated
from perdure.core.run_errors import WorkflowNotFound
from perdure.jobs.ops import admission
from perdure.pg.drive import drive
from tests.rooms.workflows.stage import Stage


def _declare(stage: Stage) -> None:
    """Write what the app declares of its queues, as its workers do."""
    with stage.conn.transaction():
        drive(stage.conn, admission.declare(list(stage.app.queues.values()), "shop"))


def _places(stage: Stage) -> list[tuple[str, str]]:
    return stage.rows("select r.id, j.place from perdure.run r join perdure.jobs j on j.id = r.job order by r.id")


def test_a_full_queue_refuses_runs(stage: Stage) -> None:
    """A queue takes no more runs than it may hold, one or many, and no run without a tenant where it takes none: the
    start raises, and nothing of it is left, in a transaction that goes on. A run that is there already is joined, and
    is asked nothing. Red when the statement that starts overlooks ``guarded``."""

    @stage.app.workflow(queue="narrow")
    async def wide(wf: Workflow) -> None: ...

    @stage.app.workflow(queue="tenants")
    async def owned(wf: Workflow) -> None: ...

    stage.app.queue("narrow", max_depth=2)
    stage.app.queue("tenants", tenant_required=True)
    _declare(stage)
    workflows = stage.client.workflows
    workflows.start(wide.run(), id="a")

    with stage.conn.transaction():
        on = stage.client.on(stage.conn).workflows
        for refused in ([(wide.run(), "b"), (wide.run(), "c")], [(owned.run(), "x"), (wide.run(), "b")]):
            with pytest.raises((QueueSaturated, ContextMissing)):
                on.start_many(refused)
        on.start(wide.run(), id="b")
        with pytest.raises(QueueSaturated):
            on.start(wide.run(), id="a", on_conflict="replace")
    assert not workflows.start(wide.run(), id="a").new
    with pytest.raises(ContextMissing):
        workflows.start(owned.run(), id="x")
    with context.bind(tenant="acme"):
        workflows.start(owned.run(), id="x")

    assert _places(stage) == [("a", "ready"), ("b", "ready"), ("x", "ready")]


def test_a_run_waits_in_line_or_comes_later(stage: Stage) -> None:
    """What a full queue lets wait in line, or delays, is a run's first activation; the line lets it in, and it runs
    [ARC-7]. Red when a run that spills is in ready."""

    @stage.app.workflow(queue="spilling")
    async def spilt(wf: Workflow) -> str:
        return "ran"

    @stage.app.workflow(queue="delaying")
    async def delayed(wf: Workflow) -> None: ...

    stage.app.queue("spilling", max_depth=1, when_full="spill")
    stage.app.queue("delaying", max_depth=1, when_full="delay")
    _declare(stage)

    async def play() -> None:
        for id in ("s1", "s2", "s3"):
            await stage.start(spilt.run(), id)
        await asyncio.to_thread(stage.client.workflows.start_many, [(delayed.run(), "d1"), (delayed.run(), "d2")])
        places = dict(_places(stage))
        assert sorted(places.values()) == ["ready", "ready", "scheduled", "scheduled", "scheduled"]
        assert (
            stage.value("select count(*) from perdure.scheduled where run_at >= timestamptz '9000-01-01 00:00Z'") == 2
        )
        assert stage.value("select options ->> 'put_off' from perdure.job where run_at < '9000-01-01'") == "true"
        async with stage.working(queues={"spilling": 1}):
            assert [await stage.result(id) for id in ("s1", "s2", "s3")] == ["ran", "ran", "ran"]

    asyncio.run(play())


def test_a_parent_waits_for_room_for_its_child(stage: Stage) -> None:
    """A step that starts a child in a full queue is tried again until there is room, and says meanwhile why it waits;
    the parent holds nothing. Where the child's queue wants a tenant and there is none, the step fails. Red when the
    refusal ends the parent."""

    @stage.app.workflow(queue="narrow")
    async def child(wf: Workflow) -> str:
        return "grown"

    @stage.app.workflow(queue="tenants")
    async def owned(wf: Workflow) -> None: ...

    @stage.app.workflow
    async def parent(wf: Workflow) -> list[str]:
        grown = await wf.child(child, "one")
        try:
            await wf.child(owned, "two")
        except Exception as error:
            return [grown, str(error)]
        return [grown]

    stage.app.queue("narrow", max_depth=1)
    stage.app.queue("tenants", tenant_required=True)
    _declare(stage)

    async def play() -> list[str]:
        # Somebody works there, quickly by what they say, so that the hint to come back is a second.
        told = '{"queues": {"narrow": {"ended_per_second": 1000}}}'
        stage.conn.execute(
            "insert into perdure.worker (name, host, pid, slots, queues, expires_at, gauges) "
            "values ('away', 'there', 1, 1, '{narrow}', now() + interval '1 hour', %s)",
            [told],
        )
        await stage.start(child.run(), "in the way")
        async with stage.working(queues={"default": 1}):
            await stage.start(parent.run(), "p")
            await stage.until_true("select count(*) > 0 from perdure.step where state = 'retry' and attempt >= 2")
            [moment] = (await stage.timeline("p")).values()
            assert moment.outcome["reason"] == "queue_full"
            assert "the queue narrow holds 1 jobs of 1" in moment.outcome["message"]
            with pytest.raises(WorkflowNotFound):
                await stage.get("one")
            async with stage.working(queues={"narrow": 1}):
                return list(await stage.result("p"))

    grown, refused = asyncio.run(play())
    assert grown == "grown"
    assert "names no tenant" in refused


def test_a_run_is_never_shed(stage: Stage) -> None:
    """A full queue that discards what is less urgent lets no run give way, neither a fresh one nor one half way: more
    urgent jobs take the place of jobs, and are refused where only runs are left. Red when shed takes runs."""

    @stage.app.workflow(queue="shedding")
    async def slow(wf: Workflow) -> None: ...

    @stage.app.task(queue="shedding")
    async def task() -> None: ...

    stage.app.queue("shedding", max_depth=3, when_full="shed_lowest")
    _declare(stage)
    jobs = stage.client.jobs
    jobs.enqueue(task.job(), priority=9)
    stage.client.workflows.start(slow.run(), id="a", priority=9)
    stage.client.workflows.start(slow.run(), id="b", priority=9)

    urgent = stage.client.workflows.start(slow.run(), id="c", priority=0)
    with pytest.raises(QueueSaturated):
        jobs.enqueue(task.job(), priority=0)

    assert urgent.new
    assert _places(stage) == [("a", "ready"), ("b", "ready"), ("c", "ready")]
    assert stage.rows("select outcome, task from perdure.history") == [("discarded", "task")]
