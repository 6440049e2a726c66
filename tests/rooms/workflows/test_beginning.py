"""What a replay begins with: when the run, or its round, began, and what it said of itself then."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from perdure import Retry, UpdateRefused, Workflow, testing
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)


def test_code_that_asks_what_it_has_said_is_answered_alike_by_each_replay(stage: Stage) -> None:
    """A run may decide by its attributes: a replay sees those that it was started with, and each that was set from the
    place on where it was; people and validators see what it says now [DW-194]. Red when a replay begins with what the
    run says by now: then this one takes the other way, and is parked."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        asked = [wf.attributes.get("stage"), wf.attributes["customer"]]
        if "stage" in wf.attributes:
            await wf.step("anew", stage.do, "anew")
        await wf.step("a", stage.do, "a")
        wf.set(stage="paid")
        await wf.signal("go")
        wf.set(stage="shipped")
        return [*asked, wf.attributes["stage"], await wf.signal("end")]

    @shop.update("end")
    def may_end(value: Any, attributes: dict[str, Any]) -> str:
        if attributes["stage"] != "shipped":
            raise ValueError(f"is {attributes['stage']}")
        return "yes"

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run(), attributes={"customer": 7})
            await stage.until_state("waiting")
            with pytest.raises(UpdateRefused, match="is paid"):
                await stage.ask(stage.client.workflows.update, "r", "end")
            await stage.signal("go")
            await stage.until_true("select attributes ->> 'stage' = 'shipped' from perdure.run")
        async with stage.working():
            assert await stage.ask(stage.client.workflows.update, "r", "end") == "yes"
            assert await stage.result() == [None, 7, "shipped", None]
        assert list(await stage.timeline()) == ["a", "signal go", "signal end"]

    asyncio.run(play())
    assert stage.did == ["a"]
    assert stage.value("select attributes::text from perdure.run") == '{"customer":7,"stage":"shipped"}'


def test_a_round_begins_when_it_is_begun(stage: Stage) -> None:
    """At the beginning of a round it is then, and not the moment at which the run was started, long ago: who bills a
    month after ``wf.now()`` bills once a month. Each replay of the round says the same [DW-195]. Red when each round
    begins with the run: then it doesn't wait at all."""
    seen: list[tuple[int, datetime, Any]] = []

    @stage.app.workflow
    async def bill(wf: Workflow) -> Any:
        seen.append((wf.round, wf.now(), wf.attributes.get("billed")))
        await wf.sleep_until(wf.now() + timedelta(days=30))
        await wf.step("bill", stage.do, wf.round)
        wf.set(billed=wf.round)
        if wf.round == 2:
            return None
        return wf.continue_as_new()

    async def play() -> None:
        async with stage.working():
            await stage.start(bill.run())
            for round in range(3):
                await stage.until_state("waiting")
                await stage.until_true("select round = %s from perdure.run", round)
                await stage.until_true("select count(*) = 1 from perdure.waiting where wake_at is not null")
                assert stage.did == list(range(round))
                await stage.ask(testing.skip, stage.db.url, timedelta(days=30))
            await stage.result()

    asyncio.run(play())
    assert stage.did == [0, 1, 2]
    rounds = {round: {(now, billed) for each, now, billed in seen if each == round} for round in range(3)}
    assert all(len(told) == 1 for told in rounds.values())
    [(first, _)], [(second, one)], [(third, two)] = rounds.values()
    assert (one, two) == (0, 1)
    assert timedelta(days=30) <= second - first < timedelta(days=31)
    assert timedelta(days=30) <= third - second < timedelta(days=31)


def test_a_fork_begins_as_what_it_was_forked_from(stage: Stage) -> None:
    """Before the step from which a fork does everything itself, its code is told the same as that of the run it was
    made from: when it began, and what it said of itself [DW-202]. Red when a fork begins with its own beginning, and
    with what the other run said in the end."""
    told: list[tuple[datetime, Any]] = []
    broken = [True]

    async def pay() -> str:
        if broken:
            raise ConnectionError("declined")
        return "paid"

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        told.append((wf.now(), wf.attributes.get("stage")))
        await wf.step("late" if "stage" in wf.attributes else "early", stage.do, "a")
        wf.set(stage="paying")
        return await wf.step("pay", pay, retry=ONCE)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("failed")
            broken.clear()
            await stage.ask(stage.client.workflows.fork, "r", new_id="f", step="pay")
            assert await stage.result("f") == "paid"
            await stage.ask(stage.client.workflows.fork, "f", new_id="g", step="pay")
            assert await stage.result("g") == "paid"

    asyncio.run(play())
    assert stage.did == ["a"]
    assert len(set(told)) == 1


def test_a_fork_has_the_dice_of_what_it_was_forked_from(stage: Stage) -> None:
    """What was drawn before the step from which a fork does everything itself is drawn again, in a fork of a fork too;
    what is drawn from there on is its own [DW-202]. Red when a fork has dice of its own from the beginning: then code
    that decides by them is parked; and when it has the other one's for ever: then what is to be unique isn't."""
    drawn: list[tuple[str, Any]] = []

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        first = wf.uuid()
        await wf.step(f"a {first}", stage.do, 0)
        second = wf.uuid()
        await wf.step(f"b {second}", stage.do, 0)
        third = wf.uuid()
        drawn.append((wf.id, (first, second, third)))
        await wf.signal("go")
        return str(third)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            before = await stage.until_state("waiting")
            [*_, b, _] = await stage.timeline()
            await stage.ask(stage.client.workflows.fork, "r", new_id="f", step=b)
            await stage.until_state("waiting", "f")
            await stage.ask(stage.client.workflows.fork, "f", new_id="g", step="signal go")
            await stage.until_state("waiting", "g")
            for id in ("r", "f", "g"):
                await stage.signal("go", id=id)
                await stage.result(id)
            assert before.id == "r"

    asyncio.run(play())
    told = {id: {found for each, found in drawn if each == id} for id in ("r", "f", "g")}
    assert all(len(each) == 1 for each in told.values()), "each replay draws the same"
    [r], [f], [g] = told.values()
    assert r[0] == f[0] == g[0]
    assert f[1] == g[1] != r[1]
    assert len({r[2], f[2], g[2]}) == 3
