"""What a step may know of itself: its key for the outside world, which attempt it is, whom it is for."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from perdure import Context, Retry, Workflow, context
from perdure.core.errors import Unsupported
from tests.rooms.workflows.children import key_in_child
from tests.rooms.workflows.stage import Stage

TWICE = Retry(delays=(0.02,))


def test_a_step_s_key_is_the_same_in_every_attempt_and_no_other_s(stage: Stage) -> None:
    """A function that a step calls is given the context it asks for, task or not, in a thread, on the loop, as a
    compensation, side by side: its key is the same in each of its attempts, which are counted, and another for every
    other step, round and run. Red when the key is the run's, or counts the attempts."""
    seen: list[tuple[str, str, int]] = []

    def note(name: str, ctx: Context) -> None:
        seen.append((name, ctx.idempotency_key, ctx.attempt))
        if ctx.attempt == 1:
            raise ConnectionError("again")

    async def charge(ctx: Context, name: str) -> None:
        note(name, ctx)

    def in_thread(name: str, *, told: Context | None = None) -> None:
        assert told is not None
        note(name, told)

    @stage.app.task
    async def task(name: str, ctx: Context) -> None:
        note(name, ctx)

    @stage.app.workflow
    async def shop(wf: Workflow, again: bool) -> Any:
        mine = f"{wf.id} {wf.round}"
        await wf.step("charge", charge, f"{mine} charge", retry=TWICE)
        await wf.step("charge", partial(charge, name=f"{mine} charge#2"), retry=TWICE)
        async with wf.gather() as group:
            group.step("thread", in_thread, f"{mine} thread", retry=TWICE)
            group.step("task", task, f"{mine} task", retry=TWICE)
        if again:
            return wf.continue_as_new(again=False)
        await wf.step("last", stage.do, f"{mine} undo", compensate=charge, undo_retry=TWICE)
        raise ValueError("no")

    async def play() -> None:
        async with stage.working():
            for id in ("a", "b"):
                await stage.start(shop.run(again=id == "a"), id)
                await stage.until_state("compensated", id)

    asyncio.run(play())
    names = [name for name, _, attempt in seen if attempt == 1]
    assert sorted((name, attempt) for name, _, attempt in seen) == sorted((n, a) for n in names for a in (1, 2))
    assert len(names) == len(set(names)) == 14
    assert len({key for _, key, _ in seen}) == len({(name, key) for name, key, _ in seen}) == 14
    assert max(len(key) for _, key, _ in seen) == 36


def test_a_context_that_is_kept_tells_no_later_step_its_key(stage: Stage) -> None:
    """A step that asks for no context isn't told another step's key by a context which that one has kept. Red when the
    key outlives its step."""
    lent: list[Context] = []

    async def lend(ctx: Context) -> None:
        lent.append(ctx)

    async def borrow() -> str:
        try:
            return lent[-1].idempotency_key
        except Unsupported as error:
            return str(error)

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        await wf.step("lend", lend)
        return await wf.step("borrow", borrow)

    async def play() -> None:
        async with stage.working():
            assert "outside of a step" in await stage.run(shop.run(), "r")

    asyncio.run(play())


def test_a_step_in_a_child_process_knows_the_same(stage: Stage) -> None:
    """A process task as a step has its key, its attempt and the context of its run there, too, and its arguments are
    those that the code has just given it, of whatever version. Red when they are taken for arguments of the first
    version, and when the run's context stays behind."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        return [await wf.step("key", key_in_child, 7), await wf.step("key", key_in_child, 7)]

    async def play() -> None:
        async with stage.working():
            with context.bind(tenant="acme"):
                await stage.start(shop.run())
            first, second = await stage.result()
            assert first[1:] == second[1:] == [1, "acme", 7]
            assert first[0] != second[0]

    asyncio.run(play())


def test_what_was_undone_is_done_anew_under_another_key(stage: Stage) -> None:
    """A step that is rewound after it was undone has a new key, and so has its compensation: a provider that knows
    requests by their keys would answer with the charge that it has refunded. Each time; and a step that was rewound and
    not undone keeps its key, whose request may still be under way. Red when a rewind forgets how often a step was
    undone, and when the number goes into every key."""
    taken: dict[str, list[str]] = {"charge": [], "refund": [], "note": []}
    cured = False

    async def charge(ctx: Context) -> None:
        taken["charge"].append(ctx.idempotency_key)

    async def refund(ctx: Context) -> None:
        taken["refund"].append(ctx.idempotency_key)

    async def note(ctx: Context) -> None:
        taken["note"].append(ctx.idempotency_key)

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        await wf.step("charge", charge, compensate=refund)
        await wf.step("note", note)
        if not cured:
            raise ValueError("out of stock")
        return "shipped"

    async def play() -> None:
        nonlocal cured
        async with stage.working():
            await stage.start(shop.run())
            for _ in range(2):
                await stage.until_state("compensated")
                cured = len(taken["charge"]) == 2
                gone = await stage.ask(stage.client.workflows.rewind, "r", "charge")
                assert gone == ["charge", "note", "undo charge"]
            assert await stage.result() == "shipped"
            assert list(await stage.timeline()) == ["charge", "note"]

    asyncio.run(play())
    assert [len(keys) for keys in taken.values()] == [3, 2, 3]
    assert len({*taken["charge"], *taken["refund"]}) == 5
    assert len(set(taken["note"])) == 1
