"""The way out: a run that was told to end, or has failed, undoes what it had done, and no change of its code turns it
round."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from perdure import App, Retry, StepFailed, Workflow
from perdure.core.run_errors import WorkflowState
from perdure.testing import skip
from tests.rooms.worker.stage import BOUND_SECONDS
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)
SOON = Retry(max_attempts=1_000, delays=(0.05,) * 10, cap=1.0)


def test_a_gathering_undoes_what_can_be_undone_and_leaves_the_rest(stage: Stage) -> None:
    """Beside a failure that undoes what was done, a step without a compensation is left as it is, and the run goes on
    after it, elsewhere too [KIT-39]. Red when the step is taken for one that can be undone: then the run fails at that,
    again and again; and when what was undone there keeps the code from going on."""

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            async with wf.gather(limit=1, on_failure="compensate") as group:
                group.step("plain", stage.do, "plain")
                group.step("a", stage.do, "a", compensate=undo)
                group.step("x", stage.fail, "x", retry=ONCE)
        except StepFailed as error:
            return f"{error.step} {await wf.signal('go')}"
        return "?"

    async def play() -> None:
        await stage.start(shop.run())
        async with stage.working():
            await stage.until_state("waiting")
        await stage.signal("go", "on")
        async with stage.working():
            assert await stage.result() == "x on"

    asyncio.run(play())
    assert stage.did == ["plain", "a", "x", "undo a"]


async def _leave_halfway(stage: Stage, app: App) -> None:
    """Let a worker of the app bring the run to a compensation that doesn't succeed yet, and leave."""
    async with stage.working(app):
        await stage.until_true("select exists (select from perdure.step where name = 'undo a' and state = 'retry')")
        await stage.until_state("waiting")


def test_a_cancelled_run_isn_t_turned_round_by_a_patch(stage: Stage) -> None:
    """A run that is being undone after a cancel, and is taken up by code that is patched just where it was told to end,
    stays cancelled: it had come that far [DW-203, DW-204, PAT-57]. Red when patched looks only at what the code asks
    for: then the run goes the new way, and completes over what was undone."""
    old, new, broken, gate = App("shop"), App("shop"), [True], asyncio.Event()

    async def hold(what: str) -> None:
        stage.did.append(what)
        await gate.wait()

    async def undo(what: str) -> None:
        if broken[0]:
            raise ValueError("not yet")
        stage.did.append(f"undo {what}")

    @old.workflow(name="shop")
    async def before(wf: Workflow) -> None:
        await wf.step("a", hold, "a", compensate=undo, undo_retry=SOON)
        await wf.step("old", stage.do, "old")

    @new.workflow(name="shop")
    async def after(wf: Workflow) -> None:
        await wf.step("a", hold, "a", compensate=undo, undo_retry=SOON)
        way = "new" if wf.patched("way") else "old"
        await wf.step(way, stage.do, way)

    async def play() -> None:
        await stage.start(before.run())
        async with stage.working(old):
            await stage.until_true("select exists (select from perdure.step where name = 'a')")
            await stage.ask(stage.client.workflows.cancel, "r")
            gate.set()
            await stage.until_true("select exists (select from perdure.step where name = 'undo a')")
        broken[0] = False
        async with stage.working(new):
            await stage.until_state("cancelled")

    asyncio.run(play())
    assert stage.did == ["a", "undo a"]


@pytest.mark.parametrize("mended", ["goes on", "ends"])
def test_mended_code_doesn_t_go_on_over_what_was_undone(stage: Stage, mended: str) -> None:
    """A run that has failed and undone a part is taken up by code that doesn't fail there any more: it is parked before
    anything is done, with what was undone in its diff, and ends as it had begun to under the old code [ARC-55, PAT-53].
    Red when what was undone isn't looked at: then the run completes, and half of what it did is undone."""
    old, new, broken = App("shop"), App("shop"), [True]

    async def undo(what: str) -> None:
        if what == "a" and broken[0]:
            raise ValueError("not yet")
        stage.did.append(f"undo {what}")

    async def both(wf: Workflow) -> None:
        for what in "ab":
            await wf.step(what, stage.do, what, compensate=undo, undo_retry=SOON)

    @old.workflow(name="shop")
    async def before(wf: Workflow) -> Any:
        await both(wf)
        raise ValueError("a mistake")

    @new.workflow(name="shop")
    async def after(wf: Workflow) -> Any:
        await both(wf)
        return await wf.step("c", stage.do, "c") if mended == "goes on" else "done"

    async def play() -> None:
        await stage.start(before.run())
        await _leave_halfway(stage, old)
        async with stage.working(new):
            run = await stage.until_state("parked")
            assert run.reason == "diverged"
            assert "undo 'undo b' (done)" in str(run.error)
        broken[0] = False
        await stage.ask(stage.client.workflows.resume, "r")
        async with stage.working(old):
            await stage.until_state("compensated")

    asyncio.run(play())
    assert stage.did == ["a", "b", "undo b", "undo a"]


class Shop:
    """An order that charges and, in its new code, ships. Its refund hangs until it may end."""

    def __init__(self, stage: Stage, charge: Callable[..., Any]) -> None:
        self._stage, self._charge = stage, charge
        self.old, self.new, self.begun, self.gate = App("shop"), App("shop"), asyncio.Event(), asyncio.Event()

        @self.new.workflow(name="shop")
        async def after(wf: Workflow) -> str:
            await self.charge(wf)
            return str(await wf.step("ship", stage.do, "ship"))

    async def charge(self, wf: Workflow) -> Any:
        return await wf.step("charge", self._charge, "charge", compensate=self._refund)

    async def _refund(self, what: str) -> None:
        self._stage.did.append(f"refund {what}")
        self.begun.set()
        await self.gate.wait()


def test_a_compensation_that_was_cut_off_has_begun(stage: Stage) -> None:
    """A run whose first compensation has begun is on its way out: while that runs, a check of code that doesn't fail
    there any more says so; when it is cut off, that code parks the run, a fork of the whole of it is refused, and the
    old code undoes the rest, the one that was cut off again [ARC-55, PAT-53, DW-202]. Red when a compensation isn't
    recorded before it is called: then the run ships what may be refunded."""
    shop = Shop(stage, stage.do)

    @shop.old.workflow(name="shop")
    async def before(wf: Workflow) -> None:
        await shop.charge(wf)
        raise KeyError("a mistake")

    async def play() -> None:
        await stage.start(before.run())
        async with stage.working(shop.old, drain_seconds=0.0):
            await asyncio.wait_for(shop.begun.wait(), BOUND_SECONDS)
            (found,) = await stage.ask(stage.client.workflows.check, shop.new)
            assert "undo 'undo charge' (begun)" in str(found.problem)
            assert await stage.ask(stage.client.workflows.check, shop.old) == [structs.replace(found, problem=None)]
        async with stage.working(shop.new):
            run = await stage.until_state("parked")
            assert run.reason == "diverged"
        with pytest.raises(WorkflowState, match="has begun to undo charge"):
            await stage.ask(stage.client.workflows.fork, "r", new_id="f")
        shop.gate.set()
        await stage.ask(stage.client.workflows.resume, "r")
        async with stage.working(shop.old):
            await stage.until_state("compensated")

    asyncio.run(play())
    assert stage.did == ["charge", "refund charge", "refund charge"]


@pytest.mark.parametrize("last", ["step", "function", "block"])
@pytest.mark.parametrize("why", ["cancelled", "deadline"])
def test_what_comes_during_the_last_step_is_heeded(stage: Stage, why: str, last: str) -> None:
    """A run that is cancelled, or whose deadline passes, while its last step runs hears of it before what its function
    returns counts: the step ends, and what was done is undone [DW-203, PAT-57]. Red when only the next command of the
    code is where it hears of that: then it has completed."""
    begun, gate = asyncio.Event(), asyncio.Event()

    async def hold(_: Any = None) -> None:
        begun.set()
        await gate.wait()
        stage.did.append("last")

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        await wf.step("a", stage.do, "a", compensate=undo)
        if last == "block":
            async with wf.transaction("last"):
                await hold()
        else:
            await (wf.step("last", hold) if last == "step" else wf.transaction("last", hold))
        return "done"

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run(), deadline=3_600)
            await asyncio.wait_for(begun.wait(), BOUND_SECONDS)
            if why == "cancelled":
                assert await stage.ask(stage.client.workflows.cancel, "r") == "requested"
            else:
                await stage.ask(skip, stage.db.url, timedelta(hours=2))
                await stage.ask(stage.client.workflows.resume, "r")  # it looks up, and at the clock that has skipped
            gate.set()
            await stage.until_state(why)

    asyncio.run(play())
    assert stage.did == ["a", "last", "undo a"]


def test_a_run_that_was_told_to_end_at_its_end_stays_so(stage: Stage) -> None:
    """A run that was cancelled in its last step, and is cut off while it is undone, doesn't fit code that has one more
    step, and ends as cancelled under its own [ARC-55, DW-203]. Red when it isn't recorded that it was told: then what
    it had returned stands, or the new step is done over what was undone."""

    async def cancelled(what: str) -> str:
        await stage.ask(stage.client.workflows.cancel, "r", reason="changed my mind")
        return what

    shop = Shop(stage, cancelled)

    @shop.old.workflow(name="shop")
    async def before(wf: Workflow) -> str:
        return str(await shop.charge(wf))

    async def play() -> None:
        await stage.start(before.run())
        async with stage.working(shop.old, drain_seconds=0.0):
            await asyncio.wait_for(shop.begun.wait(), BOUND_SECONDS)
        (found,) = await stage.ask(stage.client.workflows.check, shop.new)
        assert "cancel 'cancel' (done)" in str(found.problem)
        assert await stage.ask(stage.client.workflows.check, shop.old) == [structs.replace(found, problem=None)]
        shop.gate.set()
        async with stage.working(shop.old):
            await stage.until_state("cancelled")

    asyncio.run(play())
    assert stage.did == ["refund charge"] * 2
