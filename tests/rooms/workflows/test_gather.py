"""Gathering: steps side by side, what the first failure or the first success means for the others, and crashes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import GatherFailed, Retry, StepFailed, Workflow
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)


class Counter:
    """Steps that count how many of them run at a time, and those that hang until they are cancelled."""

    def __init__(self) -> None:
        self.live = self.most = self.cancelled = 0
        self.begun = asyncio.Event()

    async def work(self, what: Any) -> Any:
        self.live += 1
        self.most = max(self.most, self.live)
        await asyncio.sleep(0.01)
        self.live -= 1
        return what

    async def hang(self) -> None:
        self.live += 1
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.live -= 1
            self.cancelled += 1

    async def fail(self, what: str) -> None:
        await self.begun.wait()
        raise ValueError(what)


def test_the_first_failure_stops_the_others_and_is_what_is_raised(stage: Stage) -> None:
    """fail_fast: a failure cancels the siblings at once, all of them have ended when it is raised, and what is raised
    is the cause and not a sibling's cancellation, with the other failures beside it [KIT-37, KIT-38].

    Red when siblings are left running, or their cancellation is what the code sees.
    """

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            async with wf.gather() as group:
                slow = group.step("slow", count.hang)
                group.step("bad", count.fail, "bad luck", retry=ONCE)
        except StepFailed as error:
            assert slow.error is not None
            return (
                f"{error.step}, {error.kind}, {[each.step for each in error.others]}, {slow.error.reason}, {count.live}"
            )
        return "?"

    count = Counter()

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == "bad, ValueError, [], cancelled, 0"
        assert {name: each.state for name, each in (await stage.timeline()).items()} == {
            "bad": "failed",
            "slow": "cancelled",
        }

    asyncio.run(play())
    assert count.cancelled == 1


@pytest.mark.parametrize(("mode", "found"), [
    ({"mode": "collect_all"}, ["a", "ValueError", "b", "ValueError"]),
    ({"mode": "first_success"}, "one"),
    ({"quorum": 2}, "two"),
    ({"quorum": 3}, "['x', 'y']: 2 of 4 succeeded, 3 needed"),
])  # fmt: skip
def test_a_gathering_asks_for_as_many_successes_as_it_says(stage: Stage, mode: dict[str, Any], found: Any) -> None:
    """collect_all raises nothing and keeps every error; first_success and quorum end with enough successes, and fail
    with all errors when those can't be reached any more [KIT-37, KIT-38]."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> Any:
        try:
            async with wf.gather(**mode) as group:
                handles = [group.step("a", stage.do, "a"), group.step("x", stage.fail, "x", retry=ONCE),
                           group.step("b", stage.do, "b"), group.step("y", stage.fail, "y", retry=ONCE)]  # fmt: skip
        except GatherFailed as error:
            return f"{sorted(each.step for each in error.others)}: {error.message.split(':')[0]}"
        done = [each.result for each in handles if each.error is None]
        if mode == {"mode": "collect_all"}:
            return [each.result if each.error is None else each.error.kind for each in handles]
        return {1: "one", 2: "two"}[len(done)] if mode.get("quorum") else "one" if done else "none"

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == found

    asyncio.run(play())


def test_a_gathering_runs_no_more_at_a_time_than_its_limit(stage: Stage) -> None:
    """Twelve steps with a limit of three: never more than three live, and all results in the order of the code
    [KIT-37]."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[int]:
        async with wf.gather(limit=3) as group:
            handles = [group.step("work", count.work, number) for number in range(12)]
        return [each.result for each in handles]

    count = Counter()

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == list(range(12))

    asyncio.run(play())
    assert count.most == 3
    assert count.live == 0


def test_children_and_signals_are_gathered_too(stage: Stage) -> None:
    """A gathering of steps, children and a signal waits in waiting for what is left of it; a child beside a failure is
    cancelled with its own children [KIT-39, DW-203]."""

    @stage.app.workflow
    async def child(wf: Workflow, wait: bool) -> str:
        if wait:
            await wf.signal("go")
        return await wf.step("child", stage.do, "child")

    @stage.app.workflow
    async def parent(wf: Workflow, fails: bool) -> list[Any]:
        async with wf.gather() as group:
            handles = [group.child(child, f"{wf.id}/c", fails), group.signal("paid"), group.step("s", stage.do, "s")]
            if fails:
                group.step("x", stage.fail, "x", retry=Retry(max_attempts=2, delays=(0.3,)))
        return [each.result for each in handles]

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run(fails=False), "well")
            await stage.until_state("completed", "well/c")
            await stage.until_state("waiting", "well")
            await stage.signal("paid", 1, id="well")
            assert await stage.result("well") == ["child", 1, "s"]
            await stage.start(parent.run(fails=True), "badly")
            await stage.until_state("failed", "badly")
            await stage.until_state("cancelled", "badly/c")

    asyncio.run(play())


def test_what_was_done_beside_a_failure_is_kept_or_undone_as_was_said(stage: Stage) -> None:
    """A failed gathering that the code handles keeps what its siblings have done, or compensates it at once, and then
    not again when the run fails later [KIT-39]. Red without the policy, or when it is undone twice."""

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow, policy: Any) -> None:
        try:
            async with wf.gather("fail_fast", limit=1, on_failure=policy) as group:
                group.step("a", stage.do, "a", compensate=undo)
                group.step("x", stage.fail, "x", retry=ONCE)
        except StepFailed:
            await wf.step("handled", stage.do, "handled")
        raise ValueError("later")

    async def play() -> None:
        async with stage.working():
            for policy in ("keep", "compensate"):
                await stage.start(shop.run(policy), policy)
                await stage.until_state("compensated", policy)

    asyncio.run(play())
    assert stage.did == ["a", "x", "handled", "undo a", "a", "x", "undo a", "handled"]
