"""What a workflow's code asks for in the wrong place, or never: the run is parked, and has undone nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perdure import Retry, Workflow
from tests.rooms.workflows.stage import Stage

Bad = Callable[[Workflow, Stage], Awaitable[Any]]
AGAIN = Retry(max_attempts=3, delays=(0.01, 0.01), jitter="none")


async def _awaited(command: Any) -> Any:
    return await command


async def _in_step(wf: Workflow, stage: Stage) -> None:
    async def nested() -> None:
        await wf.step("inner", stage.do, "inner")

    await wf.step("outer", nested, retry=AGAIN)


async def _in_gathered_step(wf: Workflow, stage: Stage) -> None:
    async def nested() -> None:
        await wf.sleep(1)

    async with wf.gather() as group:
        group.step("outer", nested, retry=AGAIN)


async def _gather_in_step(wf: Workflow, stage: Stage) -> None:
    async def nested() -> None:
        async with wf.gather() as group:
            group.step("inner", stage.do, "inner")

    await wf.step("outer", nested, retry=AGAIN)


async def _in_function_of_transaction(wf: Workflow, stage: Stage) -> None:
    async def nested(tx: Any) -> None:
        await wf.step("inner", stage.do, "inner")

    await wf.transaction("outer", nested, retry=AGAIN)


async def _in_task(wf: Workflow, stage: Stage) -> None:
    await asyncio.create_task(_awaited(wf.step("inner", stage.do, "inner")))


async def _no_function(wf: Workflow, stage: Stage) -> None:
    await wf.step("x")  # type: ignore[call-overload]


async def _no_function_in_gathering(wf: Workflow, stage: Stage) -> None:
    async with wf.gather() as group:
        group.step("x")  # type: ignore[call-arg]


async def _no_function_of_gathered_transaction(wf: Workflow, stage: Stage) -> None:
    async with wf.gather() as group:
        group.transaction("x")  # type: ignore[call-arg]


async def _unnamed(wf: Workflow, stage: Stage) -> None:
    wf.set({"stage": "paid"})  # type: ignore[arg-type]


async def _unnamed_round(wf: Workflow, stage: Stage) -> Any:
    return wf.continue_as_new("x")  # type: ignore[arg-type]


async def _too_many(wf: Workflow, stage: Stage) -> None:
    async with wf.gather() as group:
        for number in range(1_001):
            group.step("many", stage.do, number)


async def _never_entered_group(wf: Workflow, stage: Stage) -> None:
    wf.gather().step("inner", stage.do, "inner")


async def _never_entered_block(wf: Workflow, stage: Stage) -> None:
    wf.transaction("a")


async def _empty_patch(wf: Workflow, stage: Stage) -> None:
    wf.patched("")


BAD: list[tuple[Bad, str]] = [
    (_in_step, "inner: is awaited outside"),
    (_in_gathered_step, "sleep: is awaited outside"),
    (_gather_in_step, "inner: is awaited outside"),
    (_in_function_of_transaction, "inner: is awaited outside"),
    (_in_task, "wf.gather"),
    (_no_function, "x: None can't be called"),
    (_no_function_in_gathering, "x: None can't be called"),
    (_no_function_of_gathered_transaction, "x: has no function to call"),
    (_unnamed, "set: got {'stage': 'paid'} without a name"),
    (_unnamed_round, "continue_as_new: got 'x' without a name"),
    (_too_many, "gathers more than 1,000"),
    (_never_entered_group, "inner: was never awaited"),
    (_never_entered_block, "a: was never awaited"),
    (_empty_patch, "name: "),
]


@pytest.mark.parametrize(("bad", "told"), BAD, ids=[each.__name__.strip("_") for each, _ in BAD])
def test_what_is_asked_for_in_the_wrong_place_parks_the_run(stage: Stage, bad: Bad, told: str) -> None:
    """A step that awaits a step, a step in a task beside the workflow, one without a function, words without names, too
    many at a time, and what is made and never awaited or entered are mistakes of the code: the run is parked with a
    sentence, undoes nothing, and goes on with mended code [DW-202]. Red when any fails the run, or is nothing."""
    mended: list[bool] = []

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow) -> Any:
        await wf.step("first", stage.do, "first", compensate=undo)
        return "mended" if mended else await bad(wf, stage)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            parked = await stage.until_state("parked")
            assert told in (parked.error or "")
            mended.append(True)
            await stage.ask(stage.client.workflows.resume, "r")
            assert await stage.result() == "mended"

    asyncio.run(play())
    assert stage.did == ["first"]


def test_a_gathering_that_an_error_leaves_asks_for_nothing(stage: Stage) -> None:
    """What stands in a gathering whose block was left by an error is never carried out, and no mistake when the code
    catches that error. Red when it counts as never awaited."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            async with wf.gather() as group:
                group.step("inner", stage.do, "inner")
                raise LookupError
        except LookupError:
            return "caught"

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == "caught"

    asyncio.run(play())
    assert stage.did == []
