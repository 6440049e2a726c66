"""Signals that aren't of the type that is waited for."""

from __future__ import annotations

import asyncio

import pytest

from perdure import StepTimeout, Workflow
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
