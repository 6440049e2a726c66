"""The ways out of the straight one: what is rolled back, stopped, given up or told late leaves a run that goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import App, Permanent, Retry, StepFailed, Workflow, WorkflowFailed
from tests.rooms.worker.stage import BOUND_SECONDS
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)


def test_a_compensation_beside_a_failure_that_gives_up_waits_for_a_person(stage: Stage) -> None:
    """A gathering that undoes what was done, and can't, stands as compensation_failed with the step named, and goes on
    when a person skips it [KIT-39, PAT-54]. Red when it is tried for ever, without a pause."""

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")
        raise Permanent("gone")

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            async with wf.gather(limit=1, on_failure="compensate") as group:
                group.step("a", stage.do, "a", compensate=undo)
                group.step("x", stage.fail, "x", retry=ONCE)
        except StepFailed as error:
            return error.step
        return "?"

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            run = await stage.until_state("compensation_failed")
            assert run.failed_step == "undo a"
            await stage.ask(stage.client.workflows.skip, "r", "undo a", note="by hand")
            assert await stage.result() == "x"

    asyncio.run(play())
    assert stage.did == ["a", "x", "undo a"]


@pytest.mark.parametrize("what", ["sleep", "signal", "retry"])
def test_what_waits_beside_a_running_step_is_looked_at(stage: Stage, what: str) -> None:
    """A sleep that is over, a signal that comes, and a retry that is due are seen while another step of the gathering
    still runs, and stop it where one success is enough [KIT-37, KIT-38]. Red when they are looked at afterwards."""
    tried: list[int] = []

    async def hang() -> None:
        await asyncio.Event().wait()

    async def flaky() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise ConnectionError("once")
        return "retry"

    @stage.app.workflow
    async def shop(wf: Workflow) -> bool:
        async with wf.gather("first_success") as group:
            hanging = group.step("hang", hang)
            if what == "sleep":
                group.sleep(0.1)
            elif what == "signal":
                group.signal("go")
            else:
                group.step("flaky", flaky, retry=Retry(delays=(0.1,)))
        return hanging.error is not None and hanging.error.reason == "cancelled"

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            if what == "signal":  # the others end by themselves, perhaps before a signal could come
                await stage.until_true("select count(*) > 0 from perdure.step")
                await stage.signal("go")
            assert await stage.result()

    asyncio.run(play())


def test_a_gathering_begins_nothing_further_once_its_run_is_told(stage: Stage) -> None:
    """A cancel while the first of many gathered steps runs: that one ends, no other is begun, and the run is cancelled
    [DW-203, KIT-39]. Red when all members are carried out first."""
    begun, gate = asyncio.Event(), asyncio.Event()

    async def work(number: int) -> None:
        stage.did.append(number)
        begun.set()
        await gate.wait()

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        async with wf.gather(limit=1) as group:
            for number in range(9):
                group.step("work", work, number)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await asyncio.wait_for(begun.wait(), 30)
            await stage.ask(stage.client.workflows.cancel, "r")
            gate.set()
            await stage.until_state("cancelled")

    asyncio.run(play())
    assert stage.did == [0]


def test_a_child_to_be_left_alone_is_left_alone_by_a_cancel(stage: Stage) -> None:
    """A child that is awaited, and started with ``close="abandon"``, goes on when its parent is cancelled [DW-203]. Red
    when the wait for it takes it along."""

    @stage.app.workflow
    async def child(wf: Workflow) -> str:
        return str(await wf.signal("go"))

    @stage.app.workflow
    async def parent(wf: Workflow) -> None:
        await wf.child(child, "c", close="abandon")

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run())
            await stage.until_true("select count(*) = 2 from perdure.waiting")
            await stage.ask(stage.client.workflows.cancel, "r")
            await stage.until_state("cancelled")
            await stage.signal("go", "on", id="c")
            assert await stage.result("c") == "on"

    asyncio.run(play())


@pytest.mark.parametrize("how", ["waiting", "held", "parked"])
def test_a_cancel_lets_a_run_go_on_to_its_end(stage: Stage, how: str) -> None:
    """A run that is paused, waiting or set aside, or that is parked for a mistake that has been mended, ends when
    it is cancelled, and what it had done is undone; nobody has to resume it first. Red when a cancel only asks."""
    broken = [how == "parked"]

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.step("charge", stage.do, "charge", compensate=stage.do)
        if broken[0]:
            await wf.step("", stage.do, "no name")
        await wf.signal("go")
        await wf.step("ship", stage.do, "ship")

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            if how == "parked":
                await stage.until_state("parked")
                broken[0] = False
            else:
                await stage.until_state("waiting")
                await stage.ask(stage.client.workflows.pause, "r")
            if how == "held":
                await stage.signal("go")
                await stage.until_true("select exists (select from perdure.held)")
            assert await stage.ask(stage.client.workflows.cancel, "r") == "requested"
            await stage.until_state("cancelled")

    asyncio.run(play())
    assert stage.did == ["charge", "charge"]


def test_a_deadline_ends_a_run_that_never_waits(stage: Stage) -> None:
    """A run that goes from step to step is told between two of them that its deadline has passed [PAT-57]. Red when
    only a run that is loaded looks."""

    async def slow() -> None:
        await asyncio.sleep(0.1)

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        for _ in range(100):
            await wf.step("slow", slow)

    async def play() -> None:
        async with stage.working():
            with pytest.raises(WorkflowFailed) as caught:
                await stage.run(shop.run(), deadline=0.3)
            assert caught.value.reason == "deadline"

    asyncio.run(play())


def test_a_cancellation_born_in_a_step_is_its_failure(stage: Stage) -> None:
    """A step in which something is cancelled fails as a step, alone and beside others, and its run's
    job is charged nothing. Red when it ends the activation."""

    async def bad() -> None:
        asyncio.get_running_loop().call_soon(asyncio.ensure_future(asyncio.sleep(9)).cancel)
        gone = asyncio.ensure_future(asyncio.sleep(9))
        gone.cancel()
        await gone

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        async with wf.gather("collect_all") as group:
            beside = group.step("beside", bad, retry=ONCE)
        try:
            await wf.step("alone", bad, retry=ONCE)
        except StepFailed as error:
            return [error.kind, beside.error and beside.error.kind]
        return []

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == ["RuntimeError", "RuntimeError"]

    asyncio.run(play())
    assert stage.value("select attempt from perdure.history") == 1


def test_a_retry_does_again_what_the_code_has_failed_over(stage: Stage) -> None:
    """A run whose code raises an error of its own for a step's, or for a gathering's, is retried at that step, and all
    that was stopped beside it is done again, also what had waited [DW-202]. Red when the step isn't known, or what
    waited keeps its old number and stays cancelled."""
    broken = [True]

    async def pay() -> str:
        if broken:
            raise ConnectionError("declined")
        return "paid"

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        try:
            async with wf.gather() as group:
                go = group.signal("go")
                paid = group.step("pay", pay, retry=Retry(max_attempts=2, delays=(0.05,)))
        except StepFailed as error:
            raise ValueError("no order") from error
        return [go.result, paid.result]

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            assert (await stage.until_state("failed")).failed_step == "pay"
            broken.clear()
            await stage.ask(stage.client.workflows.retry, "r")
            await stage.signal("go", 1)
            assert await stage.result() == [1, "paid"]

    asyncio.run(play())


def test_records_are_numbered_by_when_they_ended_for_replays_too(stage: Stage) -> None:
    """Of two failures the first to come is the one that is told, at a replay as the first time. Red when a record keeps
    the number of its beginning."""
    seen: list[list[str]] = []
    late = asyncio.Event()

    async def first() -> None:
        await late.wait()
        raise ValueError("late")

    async def second() -> None:
        asyncio.get_running_loop().call_later(0.05, late.set)
        raise KeyError("early")

    async def undo() -> None: ...

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        async with wf.gather("collect_all") as group:
            steps = [group.step(each.__name__, each, compensate=undo, retry=ONCE) for each in (first, second)]
        seen.append([each.name for each in sorted(steps, key=lambda each: each.answer.seq)])  # type: ignore[union-attr]
        await wf.signal("go")

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("waiting")
            await stage.signal("go")
            await stage.result()

    asyncio.run(play())
    assert seen == [["second", "first"]] * 2


def test_a_new_beginning_that_isn_t_returned_is_told(stage: Stage) -> None:
    """``continue_as_new`` without ``return`` parks the run, and says so. Red when it is dropped."""

    @stage.app.workflow
    async def loop(wf: Workflow, round: int) -> str:
        if round < 2:
            wf.continue_as_new(round=round + 1)
        return "done"

    async def play() -> None:
        async with stage.working():
            await stage.start(loop.run(0))
            assert "was called and not returned" in ((await stage.until_state("parked")).error or "")

    asyncio.run(play())


def test_arguments_that_don_t_fit_park_the_run(stage: Stage) -> None:
    """A run whose arguments the new code can't take is parked with what is missing, and goes on once it is resumed
    under code that fits [ARC-55]. Red when its job is tried again until it is dead."""
    old, new = App("shop"), App("shop")

    @old.workflow
    async def shop(wf: Workflow, size: int) -> str:
        return str(await wf.signal("go"))

    @new.workflow(name="shop")
    async def changed(wf: Workflow, size: int, colour: str) -> None: ...

    async def play() -> None:
        async with stage.working(old):
            await stage.start(shop.run(1))
            await stage.until_state("waiting")
        await stage.signal("go", "ok")
        async with stage.working(new):
            run = await stage.until_state("parked")
        assert "colour: is missing" in (run.error or "")
        async with stage.working(old):
            await stage.ask(stage.client.workflows.resume, "r")
            assert await stage.result() == "ok"

    asyncio.run(play())


@pytest.mark.parametrize("way", ["stopped", "parked"])
def test_a_block_that_is_left_before_its_end_leaves_nothing(stage: Stage, way: str) -> None:
    """A run that is stopped inside the block of a transaction, or parked there for what its code does, has written
    nothing; it goes on from before the block, and its rows stand once [DW-194]. Red when the block's transaction is
    committed with the end of the activation, without its record."""
    stage.conn.execute("create table paid (id int)")
    inside = asyncio.Event()
    tries: list[str] = []

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        async with wf.transaction("pay") as tx:
            await tx.connection.execute("insert into paid values (1)")
            tries.append(way)
            if len(tries) == 1:
                inside.set()
                await (wf.sleep(1) if way == "parked" else asyncio.Event().wait())
        return "paid"

    async def play() -> None:
        await stage.start(shop.run())
        async with stage.working(drain_seconds=0.1):
            await asyncio.wait_for(inside.wait(), BOUND_SECONDS)
            if way == "parked":
                await stage.until_state("parked")
        assert stage.value("select count(*) from paid") == 0
        if way == "parked":
            await stage.ask(stage.client.workflows.resume, "r")
        async with stage.working():
            assert await stage.result() == "paid"

    asyncio.run(play())
    assert len(tries) == 2
    assert stage.value("select count(*) from paid") == 1
