"""Tasks as steps: their time-outs and the ways they have to end, as far as a step has them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import Cancel, Permanent, Retry, RetryAfter, Snooze, StepFailed, Unsupported, Workflow, WorkflowFailed
from tests.rooms.workflows.children import busy_in_child
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)
TWICE = Retry(max_attempts=2, delays=(0.01,), jitter="none")


def test_a_task_s_own_timeout_is_its_step_s(stage: Stage) -> None:
    """A task that declares a time-out is ended by it as a step, and as a compensation, too; where the step says one,
    that counts [DW-202]. Red when only the retry policy of a task is taken over: then each of them hangs."""
    forever = asyncio.Event()

    @stage.app.task(timeout=0.05, retry=ONCE)
    async def hangs() -> None:
        await forever.wait()

    @stage.app.task(timeout=0.001, retry=ONCE)
    async def slow() -> str:
        for _ in range(100):
            await asyncio.sleep(0.001)
        return "slow"

    @stage.app.workflow
    async def shop(wf: Workflow) -> Any:
        try:
            await wf.step("hangs", hangs)
        except StepFailed as error:
            await wf.step("told", stage.do, error.kind)
        await wf.step("slow", slow, timeout=60, compensate=hangs, undo_retry=ONCE)
        raise Permanent("so it is undone")

    async def play() -> None:
        async with stage.working():
            with pytest.raises(WorkflowFailed, match=r"still running after 0\.05 s") as caught:
                await stage.run(shop.run())
            assert caught.value.reason == "compensation_failed"

    asyncio.run(play())
    assert stage.did == ["TimeoutError"]


@pytest.mark.parametrize("how", ["raised", "returned"])
def test_a_step_that_asks_to_wait_is_tried_again_then(stage: Stage, how: str) -> None:
    """RetryAfter of a step, on the loop or in a child process, or of a transaction's function, raised or returned, is
    when its next attempt is made: its policy would have waited for an hour [DW-202]. Red when a returned ending is
    taken for a result."""

    def end() -> Any:
        if how == "raised":
            raise RetryAfter(0.01, "busy")
        return RetryAfter(0.01, "busy")

    async def busy(*_: object) -> Any:
        stage.did.append("tried")
        return end() if len(stage.did) % 2 else "through"

    patient = Retry(max_attempts=2, delays=(3600,), jitter="none")

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[str]:
        child = await wf.step("p", busy_in_child, how, retry=patient)
        return [child, await wf.step("s", busy, retry=patient), await wf.transaction("t", busy, retry=patient)]

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == ["through"] * 3

    asyncio.run(play())
    assert stage.did == ["tried"] * 4


def test_endings_that_only_a_job_has_fail_a_step_at_once(stage: Stage) -> None:
    """Snooze and Cancel, raised or returned by a step or in a transaction, fail it in its first attempt with a sentence
    that says what to do instead [PAT-53]. Red when they are retried as any failure."""

    async def ends(what: str, *, returned: bool) -> Any:
        stage.did.append(what)
        ending = Snooze(for_=0.01, reason="later") if what == "Snooze" else Cancel()
        if returned:
            return ending
        raise ending

    async def in_tx(tx: Any, what: str) -> Any:
        return await ends(what, returned=False)

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[str]:
        found = []
        for what in ("Snooze", "Cancel"):
            for returned in (False, True):
                try:
                    await wf.step(what, ends, what, returned=returned, retry=TWICE)
                except StepFailed as error:
                    found.append(f"{error.kind} {error.reason} {error.message}")
            try:
                await wf.transaction(f"{what} in a transaction", in_tx, what, retry=TWICE)
            except StepFailed as error:
                found.append(f"{error.kind} {error.reason} {error.message}")
        return found

    async def play() -> None:
        async with stage.working():
            found = await stage.run(shop.run())
        assert all(each.startswith("Snooze not_retryable") for each in found[:3])
        assert all("later; " in each and "wf.sleep" in each for each in found[:3])
        assert all(each.startswith("Cancel not_retryable") and "Permanent" in each for each in found[3:])
        assert len(found) == 6

    asyncio.run(play())
    assert stage.did == ["Snooze"] * 3 + ["Cancel"] * 3


def test_a_task_that_may_run_once_isn_t_repeated_because_it_asks_to_wait(stage: Stage) -> None:
    """RetryAfter of a task that is declared ``at_most_once`` is for a person to judge, as any failure of it [DW-202].
    Red when what an ending says counts for more than that."""

    @stage.app.task(at_most_once=True, retry=TWICE)
    async def wire() -> None:
        stage.did.append("wired")
        raise RetryAfter(0.01, "busy")

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            await wf.step("wire", wire)
        except StepFailed as error:
            return error.reason
        return "through"

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == "needs_review"

    asyncio.run(play())
    assert stage.did == ["wired"]


def test_steps_that_asyncio_gathers_park_the_run_with_what_gathers_them(stage: Stage) -> None:
    """``asyncio.gather`` and a TaskGroup around steps park the run, and the error names ``wf.gather``; waiting inside
    of a transaction is refused with the calls that wait outside of it. Red when either advice is the old one."""

    @stage.app.workflow
    async def shop(wf: Workflow, how: str) -> None:
        if how == "gather":
            await asyncio.gather(wf.step("a", stage.do, 1), wf.step("b", stage.do, 2))
        async with asyncio.TaskGroup() as group:
            group.create_task(_awaited(wf.step("a", stage.do, 1)))
            group.create_task(_awaited(wf.step("b", stage.do, 2)))

    async def play() -> None:
        async with stage.working():
            for how in ("gather", "group"):
                await stage.start(shop.run(how), how)
                parked = await stage.until_state("parked", how)
                assert "wf.gather" in (parked.error or "")

    asyncio.run(play())
    assert stage.did == []
    with (
        stage.client.transaction() as tx,
        pytest.raises(Unsupported, match=r"client\.workflows\.wait\(id\) or \.update"),
    ):
        tx.workflows.update("gather", "decision")


async def _awaited(step: Any) -> Any:
    return await step
