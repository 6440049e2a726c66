"""Signals and values that aren't of the type that is asked for."""

from __future__ import annotations

import asyncio

import pytest

from perdure import Retry, StepTimeout, Workflow
from tests.rooms.workflows.stage import Stage


@pytest.mark.parametrize("gathered", [False, True])
def test_a_signal_of_another_type_is_put_aside(stage: Stage, caplog: pytest.LogCaptureFixture, gathered: bool) -> None:
    """A payload that isn't of the type which a run waits for is refused, with a line in the log and the reason in the
    inbox, and the run goes on waiting for one that is, or for its time-out; which early or late one it is doesn't
    matter. Red when it is taken: the run is parked, over what nobody can take back."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[object]:
        if gathered:
            async with wf.gather() as group:
                amount = group.signal("amount", type=int)
            first = amount.result
        else:
            first = await wf.signal("amount", type=int)
        try:
            return [first, await wf.signal("amount", timeout=0.1, type=int)]
        except StepTimeout:
            return [first, None]

    async def play() -> None:
        await stage.start(shop.run())
        await stage.signal("amount", "early")
        async with stage.working():
            await stage.until_state("waiting")
            await stage.signal("amount", {"late": True})
            await stage.until_true("select count(*) = 2 from perdure.signal where refusal is not null")
            await stage.signal("amount", 5)
            assert await stage.result() == [5, None]

    asyncio.run(play())
    refusals = [refusal for (refusal,) in stage.rows("select refusal from perdure.signal order by id")]
    assert [refusal and refusal.partition(":")[0] for refusal in refusals] == [
        "doesn't fit the type that is waited for", "doesn't fit the type that is waited for", None
    ]  # fmt: skip
    assert caplog.text.count("run r: the signal 'amount' doesn't fit the type that is waited for") == 2


@pytest.mark.parametrize("why", ["failed", "cancelled"])
def test_a_value_that_a_compensation_can_t_read_parks_the_run(stage: Stage, why: str) -> None:
    """A run that ends out of a gathering, whose one step has returned what isn't of its type, and is compensated with
    that, is parked with the step's name, found by a check, undoes nothing, and ends when the type reads it. Red when
    the compensation reads it as it pleases: then the run is tried again and again, and dies of that."""
    mended: list[object] = []

    async def count() -> int:
        return "five"  # type: ignore[return-value]

    async def count_anyhow() -> str:
        return "?"

    async def undo(result: object) -> None:
        stage.did.append(f"undo {result}")

    count_anyhow.__qualname__ = count.__qualname__

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        async with wf.gather() as group:
            group.step("count", count_anyhow if mended else count, compensate=undo)
            if why == "failed":
                group.step("pay", stage.fail, "pay", retry=Retry(max_attempts=1))
            else:
                group.signal("go")

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            if why == "cancelled":
                await stage.until_state("waiting")
                (found,) = await stage.ask(stage.client.workflows.check, stage.app)
                assert str(found.problem).startswith("count: what is recorded doesn't fit the type")
                await stage.ask(stage.client.workflows.cancel, "r")
            run = await stage.until_state("parked")
            assert str(run.error).startswith("count: what is recorded doesn't fit the type")
            assert "undo five" not in stage.did
            mended.append(True)
            await stage.ask(stage.client.workflows.resume, "r")
            await stage.until_state("cancelled" if why == "cancelled" else "compensated")

    asyncio.run(play())
    assert stage.did[-1] == "undo five"
