"""Parents and children that come to each other late: somebody else's child, one that failed, one left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import Interrupted, Retry, StepFailed, Workflow
from perdure.pg.drive import drive
from perdure.workflows.ops.control import stuck
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)


def test_a_live_child_of_somebody_else_is_refused(stage: Stage) -> None:
    """A run that would wait for a live run which it hasn't started is told so at once, instead of waiting for ever; the
    result of one that has ended it gets. Red without the question whose child it is."""

    @stage.app.workflow
    async def child(wf: Workflow) -> Any:
        return await wf.signal("go")

    @stage.app.workflow
    async def parent(wf: Workflow) -> Any:
        try:
            return await wf.child(child, "c")
        except StepFailed as error:
            return f"{error.kind}: {error.message}"

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run(), "first")
            await stage.until_true("select count(*) = 2 from perdure.waiting")
            assert "give the child an id of its own" in await stage.run(parent.run(), "second")
            await stage.signal("go", "done", id="c")
            assert await stage.result("first") == "done"
            assert await stage.run(parent.run(), "third") == "done"

    asyncio.run(play())


def test_a_run_that_waits_for_a_child_that_has_ended_is_told(stage: Stage) -> None:
    """A parent that was never woken by its child's end is one that nothing will ever move, and ``--stuck`` says so. Red
    when any waiting step is taken for something to wait for."""

    @stage.app.workflow
    async def child(wf: Workflow) -> None:
        await wf.signal("go")

    @stage.app.workflow
    async def parent(wf: Workflow) -> None:
        await wf.child(child, "c")

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run())
            await stage.until_true("select count(*) = 2 from perdure.waiting")
        assert drive(stage.conn, stuck()) == []
        stage.conn.execute("delete from perdure.waiting where id = (select job from perdure.run where id = 'c')")
        stage.conn.execute("delete from perdure.job where id = (select job from perdure.run where id = 'c')")
        stage.conn.execute("update perdure.run set ended_at = now() where id = 'c'")
        [found] = drive(stage.conn, stuck())
        assert (found.id, found.problem) == ("r", "it waits for a child that has ended")

    asyncio.run(play())


@pytest.mark.parametrize("how", ["failed", "undone", "cancelled"])
def test_a_retry_of_a_parent_is_one_of_its_child(stage: Stage, how: str) -> None:
    """A parent failed because its child did: retrying it lets the child go on from where it failed, and starts one anew
    whose work was undone, or that was cancelled. Red when the parent joins its dead child again."""
    broken = [True]

    async def pay() -> str:
        if broken:
            raise ConnectionError("the bank is closed")
        return "paid"

    @stage.app.workflow
    async def child(wf: Workflow) -> str:
        await wf.step("first", stage.do, "first", compensate=stage.do if how == "undone" else None)
        if how == "cancelled" and broken:
            await wf.signal("never")
        return await wf.step("pay", pay, retry=ONCE)

    @stage.app.workflow
    async def parent(wf: Workflow) -> Any:
        return await wf.child(child, "c")

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run())
            if how == "cancelled":
                await stage.until_true("select count(*) = 2 from perdure.waiting")
                await stage.ask(stage.client.workflows.cancel, "c")
            await stage.until_state("failed")
            broken.clear()
            await stage.ask(stage.client.workflows.retry, "r")
            assert await stage.result() == "paid"
            assert await stage.result("c") == "paid"

    asyncio.run(play())
    again = {"failed": 1, "undone": 3, "cancelled": 2}  # done, undone, and done again
    assert len(stage.did) == again[how]


def test_a_rewind_gives_back_the_signals_that_it_forgets(stage: Stage) -> None:
    """What forgotten steps had taken out of the inbox is in it again, and is taken again; what an earlier round took
    isn't. Red when messages stay taken, and when all of a name are given back."""

    @stage.app.workflow
    async def shop(wf: Workflow, round: int) -> Any:
        answer = await wf.signal("decision")
        if round == 0:
            return wf.continue_as_new(round=1)
        await wf.step("work", stage.do, answer)
        return [answer, await wf.signal("go")]

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run(0))
            await stage.signal("decision", "first")
            await stage.signal("decision", "second")
            await stage.until_true("select exists (select from perdure.step where name = 'signal go')")
            await stage.until_state("waiting")
            await stage.ask(stage.client.workflows.rewind, "r", "signal decision")
            await stage.until_true("select exists (select from perdure.step where name = 'signal go')")
            await stage.signal("go", "on")
            assert await stage.result() == ["second", "on"]

    asyncio.run(play())
    assert stage.did == ["second", "second"]


def test_a_child_is_told_with_the_record_that_its_parent_was(stage: Stage) -> None:
    """A run records that it was told to end and asks the child it waits for in one transaction: a crash leaves both or
    neither, so a parent that handles it and returns leaves no child running on. Red when the child is asked after."""

    @stage.app.workflow
    async def child(wf: Workflow) -> None:
        await wf.signal("never")

    @stage.app.workflow
    async def parent(wf: Workflow) -> str:
        try:
            await wf.child(child, "c")
        except Interrupted:
            return "tidied up"
        return "no"

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run())
            await stage.until_true("select count(*) = 2 from perdure.waiting")
            await stage.ask(stage.client.workflows.cancel, "r")
            assert await stage.result() == "tidied up"
            await stage.until_state("cancelled", "c")

    asyncio.run(play())
    told = "select xmin::text from perdure.step where name in ('cancel', 'child c') and run = %s"
    run = stage.value("select job from perdure.run where id = 'r'")
    assert len({xmin for (xmin,) in stage.rows(told, run)}) == 1
