"""Parents and children that come to each other late: somebody else's child, one that failed, one left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import Interrupted, Retry, StepFailed, Workflow
from perdure.pg.drive import drive
from perdure.workflows.ops.control import prune, stuck
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


def _a_month_passes(stage: Stage, *ids: str) -> None:
    """These runs ended a month ago: history has dropped them, and whoever forgets old runs has been there."""
    ended = list(ids)
    stage.rows("delete from perdure.history where id in (select job from perdure.run where id = any(%s)) returning id",
               ended)  # fmt: skip
    stage.rows(
        "update perdure.run set ended_at = ended_at - interval '30 days' where id = any(%s) returning job", ended
    )
    drive(stage.conn, prune(14))


def test_a_parent_that_asks_late_is_told_how_its_child_ended(stage: Stage) -> None:
    """What came of a child is told to its parent however late that asks, when history has long forgotten it: to one
    that was paused while it waited, and to one that asks only then; the child isn't run again, and is forgotten when
    its parent has no record of it any more. Red when its end isn't kept with the child, when the child is forgotten by
    its age alone, and when it is kept for ever.
    """

    @stage.app.workflow
    async def child(wf: Workflow, well: bool) -> str:
        await wf.signal("end")
        stage.did.append(wf.id)
        if not well:
            raise ValueError("no luck")
        return f"{wf.id} is done"

    @stage.app.workflow
    async def parent(wf: Workflow) -> list[str]:
        await wf.start(child, "early", well=True)
        await wf.start(child, "unlucky", well=False)
        found = [await wf.child(child, "awaited", well=True)]
        for id in ("early", "unlucky"):
            try:
                found.append(await wf.child(child, id, well=True))
            except StepFailed as error:
                found.append(f"{error.kind}: {error.message.partition(': ')[2]}")
        return found

    verbs = stage.client.workflows

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run())
            await stage.until_true("select count(*) = 4 from perdure.waiting")
            await stage.ask(verbs.pause, "r")
            await stage.until_state("paused")
            for id, state in (("early", "completed"), ("awaited", "completed"), ("unlucky", "failed")):
                await stage.signal("end", id=id)
                await stage.until_state(state, id)
            await stage.ask(verbs.cancel, "unlucky", reason="given up")
            _a_month_passes(stage, "early", "awaited", "unlucky")
            assert verbs.wait("early", timeout=1) == "early is done"
            assert (verbs.get("unlucky").state, verbs.list(state="completed")[1].id) == ("discarded", "early")
            await stage.ask(verbs.resume, "r")
            assert await stage.result() == [
                "awaited is done", "early is done",
                "WorkflowFailed: unlucky given up",
            ]  # fmt: skip

    asyncio.run(play())
    assert sorted(stage.did) == ["awaited", "early", "unlucky"]
    assert stage.value("select count(*) from perdure.run") == 4
    _a_month_passes(stage, "r")
    drive(stage.conn, prune(14))
    assert stage.value("select count(*) from perdure.run") == 0


def test_a_child_that_died_is_kept_for_its_parent_though_somebody_discards_its_job(stage: Stage) -> None:
    """A child's failure is kept with its run when it dies, so that neither a discard that knows nothing of runs nor the
    end of its history takes it from a parent that asks late. Red when only what stands in history is kept."""

    @stage.app.workflow
    async def child(wf: Workflow) -> None:
        await wf.signal("end")
        raise ValueError("no luck")

    @stage.app.workflow
    async def parent(wf: Workflow) -> str:
        try:
            await wf.child(child, "c")
        except StepFailed as error:
            return str(error.message)
        return "no"

    verbs = stage.client.workflows

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run())
            await stage.until_true("select count(*) = 2 from perdure.waiting")
            await stage.ask(verbs.pause, "r")
            await stage.until_state("paused")
            await stage.signal("end", id="c")
            run = await stage.until_state("failed", "c")
            stage.client.jobs.discard(run.job)
            _a_month_passes(stage, "c")
            await stage.ask(verbs.resume, "r")
            assert await stage.result() == "WorkflowFailed: c ValueError: no luck"

    asyncio.run(play())


def test_a_child_whose_end_nobody_knows_is_started_anew_by_a_retry(stage: Stage) -> None:
    """A parent that was waiting for somebody else's run, which has ended and is forgotten, is told so instead of being
    told that it was cancelled, or of waiting for ever; a retry starts a child of its own. Red when what isn't kept is
    taken for cancelled."""

    @stage.app.workflow
    async def child(wf: Workflow) -> int:
        return await wf.step("one", stage.do, 1)

    @stage.app.workflow
    async def parent(wf: Workflow) -> int:
        return int(await wf.child(child, "c"))

    async def play() -> None:
        async with stage.working():
            assert await stage.run(child.run(), "c") == 1
            stage.rows("delete from perdure.history returning id")
            await stage.start(parent.run())
            run = await stage.until_state("failed")
            assert "c has ended, and what came of it isn't kept any more" in str(run.error)
            _a_month_passes(stage, "c")
            await stage.ask(stage.client.workflows.retry, "r")
            assert await stage.result() == 1

    asyncio.run(play())
    assert stage.did == [1, 1]
