"""Children by the same id: whose they are, and when a run starts one anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import Retry, StepFailed, Workflow
from tests.rooms.workflows.stage import Stage


@pytest.mark.parametrize("how", ["ended", "living"])
def test_a_run_that_takes_an_id_has_children_of_its_own(stage: Stage, how: str) -> None:
    """A run that replaces another one of its id starts the children that follow from that anew, with its own arguments,
    though those of the replaced run have ended, or live still. Red when it takes the other's result, or is refused."""

    @stage.app.workflow
    async def child(wf: Workflow, v: int) -> int:
        stage.did.append(v)
        if how == "living" and v == 1:
            await wf.signal("never")
        return v

    @stage.app.workflow
    async def parent(wf: Workflow, v: int) -> Any:
        return await wf.child(child, f"{wf.id}:c", v, close="abandon")

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run(1))
            if how == "ended":
                assert await stage.result() == 1
            else:
                await stage.until_true("select count(*) = 2 from perdure.waiting")
            await stage.start(parent.run(2), on_conflict="replace")
            assert await stage.result() == 2
            assert await stage.result("r:c") == 2

    asyncio.run(play())
    assert stage.did == [1, 2]


def test_each_round_of_a_run_has_children_of_its_own(stage: Stage) -> None:
    """A run that begins anew starts again a child whose end it has heard; one that it has only started it
    finds as it was. Red when a round takes the result of an earlier one's child, and when it starts what runs."""

    @stage.app.workflow
    async def child(wf: Workflow, n: int) -> int:
        stage.did.append(n)
        return n

    @stage.app.workflow
    async def guard(wf: Workflow) -> str:
        await wf.step("begin", stage.do, "guard")
        return str(await wf.signal("go"))

    @stage.app.workflow
    async def parent(wf: Workflow, n: int, seen: list[int]) -> Any:
        await wf.start(guard, f"{wf.id}:g")
        seen = [*seen, await wf.child(child, f"{wf.id}:c", n)]
        if n < 2:
            return wf.continue_as_new(n=n + 1, seen=seen)
        return [*seen, await wf.child(guard, f"{wf.id}:g")]

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run(0, []))
            await stage.until_true("select count(*) = 2 from perdure.waiting")
            await stage.signal("go", "gone", id="r:g")
            assert await stage.result() == [0, 1, 2, "gone"]

    asyncio.run(play())
    assert sorted(map(str, stage.did)) == ["0", "1", "2", "guard"]


def test_a_rewind_starts_children_anew(stage: Stage) -> None:
    """A step that is forgotten is done again, and so is a child that has completed. Red when its result is taken."""

    @stage.app.workflow
    async def child(wf: Workflow) -> int:
        stage.did.append("child")
        return len(stage.did)

    @stage.app.workflow
    async def parent(wf: Workflow) -> int:
        n: int = await wf.child(child, "c")
        await wf.signal("go")
        return n

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run())
            await stage.until_true("select exists (select from perdure.step where name = 'signal go')")
            await stage.until_state("waiting")
            assert "child c" in await stage.ask(stage.client.workflows.rewind, "r", "child c")
            await stage.signal("go")
            assert await stage.result() == 2

    asyncio.run(play())
    assert stage.did == ["child", "child"]


@pytest.mark.parametrize("whose", ["another's", "its own"])
@pytest.mark.parametrize("how", ["arguments", "workflow"])
def test_a_result_is_that_of_the_child_which_is_meant(stage: Stage, whose: str, how: str) -> None:
    """A run of a child's id that has ended is taken for the child if it is of the same workflow with the same
    arguments; otherwise the step fails and says so. Red when any run of the id is taken."""

    @stage.app.workflow
    async def child(wf: Workflow, n: int) -> int:
        return n

    @stage.app.workflow
    async def other(wf: Workflow, n: int) -> int:
        return -n

    @stage.app.workflow
    async def parent(wf: Workflow) -> Any:
        if whose == "its own":
            await wf.child(child, "c", 1)
        same = await wf.child(child, "c", 1)
        try:
            return await (wf.child(child, "c", 2) if how == "arguments" else wf.child(other, "c", 1))
        except StepFailed as error:
            return f"{same}: {error.kind}: {error.message}"

    async def play() -> None:
        async with stage.working():
            if whose == "another's":
                assert await stage.run(child.run(1), "c") == 1
            told = await stage.run(parent.run())
            assert told.startswith("1: WorkflowExists: ")
            assert "c: there is a run of this id, and it " in told
            assert ("other arguments" if how == "arguments" else "is one of ") in told

    asyncio.run(play())


@pytest.mark.parametrize("how", ["rewound", "anew"])
def test_a_child_that_a_person_has_skipped_is_still_known(stage: Stage, how: str) -> None:
    """A child that has failed is taken for done with a result and a note of a person's; when the run is rewound to it,
    or begins anew, that child is known, and started anew [DW-202]. Red when the note takes the place of the child: then
    neither can be done, ever."""
    broken = [True]

    async def pay() -> str:
        if broken:
            raise ConnectionError("the bank is closed")
        return "paid"

    @stage.app.workflow
    async def child(wf: Workflow) -> str:
        return await wf.step("pay", pay, retry=Retry(max_attempts=1))

    @stage.app.workflow
    async def parent(wf: Workflow, round: int) -> Any:
        paid = await wf.child(child, "c")
        await wf.signal("go")
        if how == "anew" and round == 0:
            return wf.continue_as_new(round=1)
        return paid

    async def play() -> None:
        workflows = stage.client.workflows
        async with stage.working():
            await stage.start(parent.run(0))
            await stage.until_state("failed")
            broken.clear()
            await stage.ask(workflows.skip, "r", "child c", result="cash", note="paid 20 in cash")
            await stage.until_state("waiting")
            if how == "rewound":
                assert "child c" in await stage.ask(workflows.rewind, "r", "child c")
            else:
                await stage.signal("go")
            await stage.signal("go")
            assert await stage.result() == "paid"
            assert await stage.result("c") == "paid"

    asyncio.run(play())
