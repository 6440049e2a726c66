"""What would escape from a step: errors that are no Exceptions, and cancellations of the task that drives the run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import Interrupted, Permanent, Retry, StepFailed, UpdateRefused, Workflow, WorkflowFailed
from tests.rooms.workflows.stage import Stage

ESCAPES = {"exit": SystemExit(2), "keyboard": KeyboardInterrupt(), "interrupted": Interrupted("cancelled")}
PLACES = ("loop", "thread", "beside", "function", "block")
AGAIN = Retry(max_attempts=2, delays=(0.01,), jitter="none")


async def _at(wf: Workflow, place: str, plain: Any, awaited: Any, in_tx: Any) -> Any:
    """Do it in a step of that place; what it returns."""
    if place == "block":
        async with wf.transaction("bad", retry=AGAIN) as tx:
            tx.keep(await in_tx(tx))
        return tx.kept
    if place == "function":
        return await wf.transaction("bad", in_tx, retry=AGAIN)
    if place == "beside":
        async with wf.gather() as group:
            bad = group.step("bad", awaited, retry=AGAIN)
        return bad.result
    return await wf.step("bad", plain if place == "thread" else awaited, retry=AGAIN)


def test_what_is_no_exception_is_a_failure_of_its_step(stage: Stage) -> None:
    """A SystemExit, a KeyboardInterrupt or a stray Interrupted of a step, wherever it runs, fails that step at once:
    what was done before is undone, and the worker goes on with its other jobs [PAT-53, PAT-56].

    Red when it leaves the step as it is: out of a gathering it ends the worker, out of a step the run, past everything
    that was to be undone.
    """

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow, place: str, kind: str) -> None:
        def plain() -> None:
            stage.did.append(f"{place} {kind}")
            raise ESCAPES[kind]

        async def awaited() -> None:
            plain()

        async def in_tx(tx: Any) -> None:
            plain()

        await wf.step("a", stage.do, f"a of {place} {kind}", compensate=undo)
        await _at(wf, place, plain, awaited, in_tx)

    async def play() -> None:
        cases = [(place, kind) for place in PLACES for kind in ESCAPES]
        async with stage.working():
            for place, kind in cases:
                with pytest.raises(WorkflowFailed, match=type(ESCAPES[kind]).__name__) as caught:
                    await stage.run(shop.run(place, kind), f"{place} {kind}")
                assert caught.value.reason == "compensated"
                assert (await stage.get(f"{place} {kind}")).failed_step == "bad"
        for place, kind in cases:
            name = f"{place} {kind}"
            assert [each for each in stage.did if name in each] == [f"a of {name}", name, f"undo a of {name}"]

    asyncio.run(play())


def test_what_is_no_exception_leaves_a_compensation_failed_and_an_update_refused(stage: Stage) -> None:
    """A compensation that raises SystemExit has failed, for a person to see to; a validator that does so has refused
    its update, and the run goes on [PAT-54, DW-202]. Red when only Exceptions are judged: then both end the run."""

    async def undo(what: str) -> None:
        raise SystemExit(4)

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.step("a", stage.do, "a", compensate=undo)
        raise Permanent("no")

    @stage.app.workflow
    async def approval(wf: Workflow) -> Any:
        return await wf.signal("decision")

    @approval.update("decision")
    def judge(value: Any, attributes: Any) -> str:
        if value == "bad":
            raise SystemExit("not that")
        return "thanks"

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            run = await stage.until_state("compensation_failed")
            assert run.failed_step == "undo a"
            await stage.start(approval.run(), "asked")
            with pytest.raises(UpdateRefused, match="not that"):
                await stage.ask(stage.client.workflows.update, "asked", "decision", "bad")
            assert await stage.ask(stage.client.workflows.update, "asked", "decision", "good") == "thanks"
            assert await stage.result("asked") == "good"

    asyncio.run(play())


@pytest.mark.parametrize("then", ["waits", "returns", "raises"])
def test_a_step_that_cancels_its_own_task_has_failed(stage: Stage, then: str) -> None:
    """A step that cancels the task it runs in, which nobody else has stopped, has failed an attempt, and is tried
    again; the place in which its run was driven isn't lost, and neither is the run [DW-190, KIT-36].

    Red when every cancellation of the run's task is taken for the worker's: then the run is never heard of again.
    """

    @stage.app.workflow
    async def shop(wf: Workflow, place: str) -> Any:
        async def awaited() -> str:
            stage.did.append(place)
            if stage.did.count(place) == 1:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                if then == "waits":
                    await asyncio.sleep(3_600)
                if then == "raises":
                    raise ValueError("after that")
            return place

        async def in_tx(tx: Any) -> str:
            return await awaited()

        async def undo() -> None:
            await awaited()

        if place != "undo":
            return await _at(wf, place, stage.fail, awaited, in_tx)
        try:
            async with wf.gather(on_failure="compensate") as group:
                group.step("a", _nothing, compensate=undo, undo_retry=AGAIN)
                group.step("x", stage.fail, "x", retry=Retry(max_attempts=1))
        except StepFailed:
            return place

    async def play() -> None:
        async with stage.working(queues={"default": 1}):
            for place in ("loop", "beside", "function", "block", "undo"):
                assert await stage.run(shop.run(place), place) == place
                assert stage.did.count(place) == 2
                assert (await stage.timeline(place))["undo a" if place == "undo" else "bad"].attempt == 2

    asyncio.run(play())


async def _nothing() -> None:
    """A step that does nothing."""
