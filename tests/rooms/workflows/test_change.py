"""Change: runs stay with their version, go the way they had begun, and are parked when the code doesn't fit them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from time import process_time
from typing import Any

import pytest
from msgspec import Raw

from perdure import App, Context, PerdureError, Workflow
from perdure.runtime.dice import seeded
from perdure.workflows.check import replayed, unfit
from perdure.workflows.model import History, Step
from tests.rooms.workflows.stage import Stage


async def _begin(stage: Stage, app: App, *ids: str) -> None:
    """Let a worker of the app bring its runs to where they wait, and leave."""
    async with stage.working(app):
        for id in ids:
            await stage.until_state("waiting", id)


def test_a_run_stays_with_the_version_that_it_was_started_in(stage: Stage) -> None:
    """While both versions are declared each run goes on in its own; a worker that has only the new one leaves the old
    runs alone, says so, and one that knows them takes them up [DW-204, DW-205, ARC-55].

    Red when the version isn't part of what a worker claims by.
    """
    one, two, both = App("shop"), App("shop"), App("shop")

    async def first(wf: Workflow) -> str:
        await wf.step("a", stage.do, "a1")
        await wf.signal("go")
        return "first"

    async def second(wf: Workflow) -> str:
        await wf.step("b", stage.do, "b2")
        return "second"

    started = one.workflow(name="shop", version=1)(first)
    new = two.workflow(name="shop", version=2)(second)
    both.workflow(name="shop", version=1)(first)
    both.workflow(name="shop", version=2)(second)

    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("perdure").addHandler(handler)

    async def play() -> None:
        await stage.start(started.run(), "old")
        await _begin(stage, one, "old")
        await stage.signal("go", id="old")
        async with stage.working(two):
            assert await stage.run(new.run(), "new") == "second"
            await stage.until_state("parked", "old")
        assert any("shop/1" in each for each in records)
        async with stage.working(both):
            assert await stage.result("old") == "first"

    try:
        asyncio.run(play())
    finally:
        logging.getLogger("perdure").removeHandler(handler)
    assert stage.did == ["a1", "b2"]


def test_code_that_doesn_t_fit_parks_the_run_with_a_diff(stage: Stage) -> None:
    """Steps put in another order, renamed, or turned into something else: the run is parked before anything is done,
    its history as it was, with a diff that says what was recorded and what the code wants; and it goes on once the
    code fits again, or the run is told so [ARC-55]. Red without the look at what is left over."""
    old, new = App("shop"), App("shop")

    @old.workflow
    async def shop(wf: Workflow) -> str:
        await wf.step("a", stage.do, "a")
        await wf.step("b", stage.do, "b")
        await wf.signal("go")
        return "done"

    @new.workflow(name="shop")
    async def changed(wf: Workflow) -> str:
        await wf.step("b", stage.do, "b again")
        await wf.step("c", stage.do, "c")
        await wf.step("a", stage.do, "a again")
        return "done"

    async def play() -> None:
        await stage.start(shop.run())
        await _begin(stage, old, "r")
        before = await stage.timeline()
        await stage.signal("go")
        async with stage.working(new):
            run = await stage.until_state("parked")
        assert run.reason == "diverged"
        assert "step 'a'" in (run.error or "")
        assert "+      step 'c'" in (run.error or "")
        assert await stage.timeline() == before
        async with stage.working(old):
            await stage.ask(stage.client.workflows.retry, "r")
            assert await stage.result() == "done"

    asyncio.run(play())
    assert stage.did == ["a", "b"]


def test_what_changed_code_raises_is_told(stage: Stage) -> None:
    """Code that raises where the run had gone on is parked with that error, and where it was raised, instead of advice
    about steps. Red when the end of the code is told, and not why it came."""
    old, new = App("shop"), App("shop")

    @old.workflow
    async def shop(wf: Workflow) -> str:
        await wf.signal("go")
        return "done"

    @new.workflow(name="shop")
    async def changed(wf: Workflow) -> str:
        raise NameError("name 'basket' is not defined")

    async def play() -> None:
        await stage.start(shop.run())
        async with stage.working(old):
            await stage.until_state("waiting")
        await stage.signal("go")
        async with stage.working(new):
            error = (await stage.until_state("parked")).error or ""
        assert "and the code raises NameError: name 'basket' is not defined (test_change.py:" in error
        assert "; mend what the code raises" in error

    asyncio.run(play())


def test_a_type_that_doesn_t_fit_is_no_error_of_the_code_s_also_after_a_gathering(stage: Stage) -> None:
    """A gathered step's recorded result that its function's type can't hold is told as that, and isn't a failure.
    Red when it fails where the code reads it, as the code's own error, which compensates."""

    async def count(what: int) -> int:
        return what

    @stage.app.workflow
    async def shop(wf: Workflow) -> int:
        async with wf.gather() as group:
            counted = group.step("count", count, 5)
        return counted.result  # type: ignore[no-any-return]

    recorded = Step("count", 1, "step", "done", 1, 0.0, 0.0, outcome=Raw(b'"five"'))
    told = replayed(shop, History(1, "r", 0, 0.0, 0.0, 0.0, {}, [recorded], [], {}), "{}", seeded)
    assert told is not None
    assert told.startswith("count: what is recorded doesn't fit the type")


def test_patched_code_leaves_runs_that_were_further_alone(stage: Stage) -> None:
    """A run that had gone past the change keeps the old way, one that hadn't goes the new way, and each stays with what
    it was told [ARC-55, DW-204]. Red when patched looks only at what is recorded."""
    old, new = App("shop"), App("shop")

    @old.workflow
    async def shop(wf: Workflow, early: bool) -> list[str]:
        if early:
            await wf.signal("go")
        await wf.step("a", stage.do, f"{wf.id} a")
        await wf.signal("on")
        return [wf.id]

    @new.workflow(name="shop")
    async def changed(wf: Workflow, early: bool) -> list[object]:
        if early:
            await wf.signal("go")
        if wf.patched("fraud check"):
            await wf.step("fraud", stage.do, f"{wf.id} fraud")
        await wf.step("a", stage.do, f"{wf.id} a")
        await wf.signal("on")
        return [wf.id, wf.patched("fraud check")]

    async def play() -> None:
        for id, early in (("early", True), ("late", False)):
            await stage.start(shop.run(early), id)
        await _begin(stage, old, "early", "late")
        for id in ("early", "late"):
            await stage.signal("go", id=id)
            await stage.signal("on", id=id)
        async with stage.working(new):
            assert await stage.result("early") == ["early", True]
            assert await stage.result("late") == ["late", False]

    asyncio.run(play())
    assert stage.did == ["late a", "early fraud", "early a"]


def test_stored_histories_are_checked_against_new_code_before_it_is_deployed(stage: Stage) -> None:
    """``check`` replays what is stored and does nothing else: it says of each run whether the new code would go on with
    it, and where it wouldn't [ARC-55, DW-206]. Red when a check leaves a trace."""
    old, new = App("shop"), App("shop")

    @old.workflow
    async def shop(wf: Workflow, size: int) -> None:
        await wf.step("a", stage.do, size)
        if size > 1:
            await wf.step("b", stage.do, "b")
        await wf.signal("go")

    @new.workflow(name="shop")
    async def changed(wf: Workflow, size: int) -> None:
        await wf.step("a", stage.do, "again")
        await wf.signal("go")

    async def play() -> None:
        for size in (1, 2):
            await stage.start(shop.run(size), f"r{size}")
        await _begin(stage, old, "r1", "r2")

    asyncio.run(play())
    before = stage.rows("select * from perdure.step order by run, seq")
    found = {each.id: each for each in stage.client.workflows.check(new)}
    assert found["r1"].problem is None
    assert "step 'b'" in (found["r2"].problem or "")
    assert {each.problem for each in stage.client.workflows.check(old)} == {None}
    assert stage.rows("select * from perdure.step order by run, seq") == before
    assert stage.did == [1, 2, "b"]


def test_compensations_that_are_owed_are_checked(stage: Stage) -> None:
    """A check says of each compensation that is owed whether it can still be called with what its step was given,
    wherever it runs, also one that wants a context; after the pivot none is [ARC-55, DW-206]. Red without a look at
    what is owed: then the run is found out when it is undone."""
    old, new = App("shop"), App("shop")

    async def undo(what: str) -> None: ...

    async def undo_for(what: str, why: str) -> None: ...

    async def undo_as(what: str, ctx: Context, why: str) -> None: ...

    @new.task(run_in="process")
    def undo_apart(what: int) -> None: ...

    async def code(wf: Workflow, way: str, backs: Sequence[Any]) -> None:
        for name, back in zip("abc", backs, strict=True):
            await wf.step(name, stage.do, f"{way} {name}", compensate=back)
        if way == "forward":
            wf.pivot()
        await wf.signal("go")

    @old.workflow
    async def shop(wf: Workflow, way: str) -> None:
        await code(wf, way, [undo] * 3)

    @new.workflow(name="shop")
    async def changed(wf: Workflow, way: str) -> None:
        await code(wf, way, [undo_for, undo_as, undo_apart])

    async def play() -> None:
        async with stage.working(old):
            for way in ("back", "forward"):
                await stage.start(shop.run(way), way)
                await stage.until_state("waiting", way)
        found = {each.id: each.problem for each in await stage.ask(stage.client.workflows.check, new)}
        assert found["forward"] is None
        told = str(found["back"]).splitlines()
        assert [line.partition(": ")[0] for line in told] == ["undo c", "undo b", "undo a"]
        assert "undo_apart, can't be called with what it is given: what: " in told[0]
        assert "undo_as(what, why), can't be called with what it is given: missing a required" in told[1]
        assert "undo_for(what, why), can't be called with what it is given: missing a required" in told[2]
        assert told[2].endswith(
            "let it take what its step was called with: give a new parameter a default, keep an old one"
        )

    asyncio.run(play())


def test_what_can_t_be_replayed_is_refused_and_parked(stage: Stage) -> None:
    """Waiting for something that isn't recorded, one name for two steps, a step that nobody awaits, a step inside a
    transaction: the run is parked with a sentence that says what to do, nothing is lost [DW-206]."""

    @stage.app.workflow
    async def foreign(wf: Workflow) -> None:
        await asyncio.sleep(1)

    @stage.app.workflow
    async def twice(wf: Workflow) -> None:
        await wf.step("a", stage.do, 1)
        await wf.step("a", stage.do_sync, 2)

    @stage.app.workflow
    async def forgotten(wf: Workflow) -> None:
        wf.step("a", stage.do, 1)

    @stage.app.workflow
    async def nested(wf: Workflow) -> None:
        async with wf.transaction("t"):
            await wf.step("a", stage.do, 1)

    told = {
        foreign: "isn't recorded",
        twice: "give each its own name",
        forgotten: "was never awaited",
        nested: "inside the transaction",
    }

    async def play() -> None:
        async with stage.working():
            for flow, text in told.items():
                await stage.start(flow.run(), flow.name)
                run = await stage.until_state("parked", flow.name)
                assert run.reason == "invalid"
                assert text in (run.error or "")

    asyncio.run(play())
    assert stage.did == [1]


def test_replaying_a_thousand_steps_is_quick(stage: Stage) -> None:
    """A history of a thousand steps is replayed in well under a second, and one that passes its bound says what to
    do."""

    @stage.app.workflow
    async def long(wf: Workflow, count: int) -> int:
        for number in range(count):
            await wf.step("s", stage.do, number)
        return count

    def history(count: int) -> History:
        steps = [Step(f"s#{n}" if n > 1 else "s", n, "step", "done", 1, 0.0, 0.0) for n in range(1, count + 1)]
        return History(1, "r", 0, 0.0, 0.0, 0.0, {}, steps, [], {})

    began = process_time()
    assert replayed(long, history(1_000), '{"count": 1000}', seeded) is None
    took = process_time() - began
    print(f"a replay of 1,000 steps took {took * 1000:.1f} ms")
    assert took < 1.0
    assert "continue_as_new" in (replayed(long, history(10_000), '{"count": 10001}', seeded) or "")


@pytest.mark.parametrize(
    ("recorded", "advice"),
    [(b"{}", "give a new argument a default"), (b'{"a": 1, "old": 2}', "keep what runs were started with")],
)
def test_what_to_do_about_an_argument_says_whether_it_is_new_or_gone(recorded: bytes, advice: str) -> None:
    """Of arguments that don't fit new code, one that it wants more gets another advice than one that it has no more
    [ARC-54]. Red when there is one advice for both."""
    app = App("shop")

    @app.workflow
    async def shop(wf: Workflow, a: int) -> None:
        """Takes one."""

    with pytest.raises(PerdureError) as caught:
        app.workflows["shop/1"].decode(Raw(recorded))
    assert advice in unfit(caught.value)
