"""A caller's transaction that stays open: it says something about a run, and what else its worker does goes on."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from perdure import Retry, Workflow
from perdure.core.run_errors import WorkflowState
from tests.rooms.worker.stage import BOUND_SECONDS, until
from tests.rooms.workflows.stage import Stage

WAITS = "select exists (select from pg_stat_activity where %s = any(pg_blocking_pids(pid)))"


def _declare(stage: Stage, gate: asyncio.Event) -> SimpleNamespace:
    """A run that ends when the gate opens, a parent that waits for it, and a job that has nothing to do with them."""
    waits = asyncio.Event()

    async def wait_in_vain() -> None:
        waits.set()
        await gate.wait()

    @stage.app.workflow
    async def child(wf: Workflow) -> str:
        await wf.step("gate", gate.wait)
        return "ok"

    @stage.app.workflow
    async def parent(wf: Workflow) -> Any:
        return await wf.child(child, "c")

    @stage.app.workflow
    async def patient(wf: Workflow) -> None:
        await wf.step("gate", wait_in_vain)
        await wf.signal("never")

    @stage.app.workflow
    async def failing(wf: Workflow) -> None:
        await wf.start(patient, "c", close="cancel")
        await wf.signal("fail")
        raise ValueError("no")

    @stage.app.task
    async def other() -> None: ...

    return SimpleNamespace(child=child, parent=parent, failing=failing, other=other, waits=waits)


async def _goes_on(stage: Stage, declared: SimpleNamespace) -> None:
    """Another job of the worker is done."""
    job = await stage.ask(stage.client.jobs.enqueue, declared.other.job())
    await stage.ask(stage.client.jobs.wait, job.id, timeout=BOUND_SECONDS)


@pytest.mark.parametrize("verb", ["pause", "cancel the parent", "lock the parent", "signal"])
def test_a_run_whose_row_a_caller_holds_ends_later_and_holds_up_nobody(stage: Stage, verb: str) -> None:
    """A run ends while a transaction that pauses it, cancels or locks its parent, or sends it a signal is open: what
    else the worker settles is settled meanwhile, and the run's own end when that transaction is over. Red without the
    look for busy runs and the halving of a flush that waits all the same (pause, lock), and with a nudge that has a
    unique key (cancel)."""
    gate = asyncio.Event()
    declared = _declare(stage, gate)
    flow = declared.parent if "parent" in verb else declared.child

    async def play() -> None:
        async with stage.working() as worker:
            await stage.start(flow.run())
            await stage.until_true("select exists (select from perdure.lease)")
            if "parent" in verb:
                await stage.until_state("waiting")
            with stage.client.transaction() as tx:
                if verb == "pause":
                    tx.workflows.pause("r")
                elif verb == "lock the parent":
                    tx.connection.execute("select from perdure.run where id = 'r' for update")
                elif verb == "signal":
                    tx.workflows.signal("r", "hello")
                else:
                    tx.workflows.cancel("r")
                gate.set()
                await stage.until_true(
                    "select exists (select from perdure.step where name = 'gate' and ended_at is not null)"
                )
                if verb in ("pause", "lock the parent"):  # its end waits for this transaction
                    await until(lambda: worker._settler.waiting)
                await _goes_on(stage, declared)
                await _goes_on(stage, declared)
            await stage.until_state("cancelled" if verb == "cancel the parent" else "completed")

    asyncio.run(play())


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_parent_that_fails_asks_its_child_though_a_caller_is_just_asking_it(stage: Stage, ends: str) -> None:
    """A parent fails while a transaction that cancels its child is open: its end waits for nobody, and the child is
    cancelled whether that transaction commits or not. Red when the request for orphans waits for the caller's, and when
    the sweep forgets pleas."""
    gate = asyncio.Event()
    declared = _declare(stage, gate)
    fails = pytest.raises(ZeroDivisionError) if ends == "rollback" else contextlib.nullcontext()

    async def play() -> None:
        async with stage.working():
            await stage.start(declared.failing.run())
            await asyncio.wait_for(declared.waits.wait(), BOUND_SECONDS)
            with fails, stage.client.transaction() as tx:
                tx.workflows.cancel("c")
                await stage.signal("fail")
                await stage.until_state("failed")
                if ends == "rollback":
                    raise ZeroDivisionError
            await stage.until_true("select exists (select from perdure.cancel_request)")
            gate.set()
            await stage.until_state("cancelled", "c")
            await stage.until_true("select not exists (select from perdure.plea)")

    asyncio.run(play())


@pytest.mark.parametrize("verb", ["retry", "skip", "rewind"])
def test_a_verb_that_is_refused_to_a_running_run_holds_up_no_record_of_it(stage: Stage, verb: str) -> None:
    """``retry``, ``skip`` and ``rewind`` of a run that is just running are refused, and leave nothing locked: the run
    goes on while that transaction is open. Red when freeze locks a leased job."""
    gate = asyncio.Event()

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.step("gate", gate.wait)
        await wf.step("after", stage.do, "after")

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_true("select exists (select from perdure.lease)")
            with stage.client.transaction() as tx:
                arguments = () if verb == "retry" else ("gate",)
                with pytest.raises(WorkflowState):
                    getattr(tx.workflows, verb)("r", *arguments)
                gate.set()
                await stage.until_true("select exists (select from perdure.step where name = 'after')")
            await stage.result()

    asyncio.run(play())


def test_a_signal_leaves_the_inbox_with_the_record_of_its_step(stage: Stage) -> None:
    """While somebody's transaction keeps a message from being taken, the step that takes it isn't recorded for anybody:
    there is no moment between, after which the next wait for that signal would be given the same one [DW-196]. Red when
    a record that takes a message is written statement by statement."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> Any:
        return await wf.signal("paid")

    async def play() -> None:
        await stage.start(shop.run())
        await stage.signal("paid", 9182)
        holder = stage.db.connect()
        holder.execute("begin")
        holder.execute("select from perdure.signal for update")
        async with stage.working():
            await stage.until_true(WAITS, holder.info.backend_pid)
            recorded = stage.value("select count(*) from perdure.step")
            holder.execute("rollback")
            assert await stage.result() == 9182
        assert recorded == 0
        assert stage.rows("select taken from perdure.signal") == [("signal paid",)]

    asyncio.run(play())


def test_a_child_is_there_with_the_record_of_its_step(stage: Stage) -> None:
    """While somebody's transaction keeps a run from recording that it has started a child, there is no child for
    anybody [DW-190, DW-193]. Red when the two are written statement by statement: a worker that has lost the run would
    start children all the same."""

    @stage.app.workflow
    async def child(wf: Workflow) -> str:
        return "ok"

    @stage.app.workflow
    async def parent(wf: Workflow) -> Any:
        return await wf.child(child, "c")

    async def play() -> None:
        await stage.start(parent.run())
        holder = stage.db.connect()
        holder.execute("begin")
        holder.execute("select from perdure.job for update")  # which a claim doesn't touch
        async with stage.working():
            await stage.until_true(WAITS, holder.info.backend_pid)
            there = stage.value("select count(*) from perdure.run")
            holder.execute("rollback")
            assert await stage.result() == "ok"
        assert there == 1

    asyncio.run(play())


def test_what_is_cancelled_beside_others_is_asked_to_end_with_the_record_of_it(stage: Stage) -> None:
    """A gathering is decided while nobody can be asked to end: that its child was cancelled isn't recorded before the
    child is asked [DW-203]. Red when the two are written statement by statement: after a crash in between nothing would
    know that the child is to end."""

    @stage.app.workflow
    async def child(wf: Workflow) -> None:
        await wf.signal("never")

    @stage.app.workflow
    async def parent(wf: Workflow) -> None:
        async with wf.gather() as group:
            group.child(child, "c")
            group.step("x", stage.fail, "x", retry=Retry(max_attempts=1))

    async def play() -> None:
        holder = stage.db.connect()
        holder.execute("begin")
        holder.execute("lock table perdure.cancel_request in share mode")
        async with stage.working():
            await stage.start(parent.run())
            await stage.until_true(WAITS, holder.info.backend_pid)
            recorded = stage.value("select count(*) from perdure.step where state = 'cancelled'")
            holder.execute("rollback")
            await stage.until_state("failed")
            await stage.until_state("cancelled", "c")
        assert recorded == 0

    asyncio.run(play())
