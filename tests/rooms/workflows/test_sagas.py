"""Sagas: what was done is undone in reverse, also after a cancel or a deadline; and where there is no way back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from perdure import Interrupted, Retry, StepFailed, Workflow, WorkflowCancelled, WorkflowFailed
from perdure.core import limits
from perdure.core.run_errors import WorkflowExists, WorkflowState
from perdure.testing import skip
from perdure.workflows.model import Started
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)


def test_what_was_done_is_undone_in_reverse(stage: Stage) -> None:
    """A run that fails compensates every step that has begun, the last one first, the failed one too, since whether it
    happened isn't known; each once, also when the run is replayed in between [PAT-53, PAT-56].

    Red when a compensation is registered after its step, or without the record of what was undone.
    """

    async def undo(what: str, result: Any = "unset") -> None:
        stage.did.append(f"undo {what}, {result}")

    flaky: list[int] = []

    async def undo_at_second_try(what: str) -> None:
        flaky.append(1)
        if len(flaky) == 1:
            raise ConnectionError("not now")
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.step("a", stage.do, "a", compensate=undo)
        await wf.step(
            "b", stage.do, "b", compensate=undo_at_second_try, undo_retry=Retry(max_attempts=3, delays=(0.05,))
        )
        await wf.step("plain", stage.do, "plain")
        await wf.step("c", stage.fail, "c", compensate=undo, retry=ONCE)

    async def play() -> None:
        async with stage.working():
            with pytest.raises(WorkflowFailed, match="c failed") as caught:
                await stage.run(shop.run())
            assert caught.value.reason == "compensated"
            assert (await stage.get()).state == "compensated"

    asyncio.run(play())
    assert stage.did == ["a", "b", "plain", "c", "undo c, None", "undo b", "undo a, a"]


def test_a_compensation_that_fails_waits_for_a_person(stage: Stage) -> None:
    """A compensation that is exhausted leaves the run in a state of its own, with the step named; a person skips it
    with a note, or lets it be tried again, and the others are done then [PAT-54, DW-202]. Red when it ends as
    failed."""
    broken = [True]

    async def undo(what: str) -> None:
        if what == "b" and broken:
            raise ConnectionError("gone")
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        for what in ("a", "b"):
            await wf.step(what, stage.do, what, compensate=undo, undo_retry=ONCE)
        raise ValueError("no")

    async def play() -> None:
        async with stage.working():
            for id in ("retried", "skipped"):
                await stage.start(shop.run(), id)
                run = await stage.until_state("compensation_failed", id)
                assert run.failed_step == "undo b"
            assert stage.did == ["a", "b"] * 2
            await stage.ask(stage.client.workflows.skip, "skipped", "undo b", note="done by phone")
            await stage.until_state("compensated", "skipped")
            assert (await stage.timeline("skipped"))["undo b"].detail == "done by phone"
            broken.clear()
            await stage.ask(stage.client.workflows.retry, "retried")
            await stage.until_state("compensated", "retried")

    asyncio.run(play())
    assert stage.did[4:] == ["undo a", "undo b", "undo a"]


def test_a_run_doesn_t_go_on_over_what_was_undone(stage: Stage) -> None:
    """A compensated run is refused a skip, and a rewind or a fork that would keep a step which was undone; from before
    that step it is rewound or forked, and does it again [PAT-54, DW-202]. Red without the look at what was undone."""
    broken = [True]

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    async def ship(what: str) -> str:
        return stage.fail(what) if broken else what

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        await wf.step("first", stage.do, "first")
        await wf.step("a", stage.do, "a", compensate=undo)
        return await wf.step("ship", ship, "ship", retry=ONCE)

    async def play() -> None:
        mend = stage.client.workflows
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("compensated")
            for verb, arguments in (
                (mend.skip, {"step": "ship"}),
                (mend.rewind, {"step": "ship"}),
                (mend.fork, {"step": "ship", "new_id": "f"}),
                (mend.fork, {"new_id": "f"}),
            ):
                with pytest.raises(WorkflowState, match=r"undone.*(first step|'a')"):
                    await stage.ask(verb, "r", **arguments)
            broken.clear()
            await stage.ask(mend.fork, "r", step="a", new_id="f")
            assert await stage.result("f") == "ship"
            await stage.ask(mend.rewind, "r", step="a")
            assert await stage.result() == "ship"

    asyncio.run(play())
    assert stage.did == ["first", "a", "ship", "undo a", "a", "a"]


def test_after_the_pivot_there_is_no_way_back(stage: Stage) -> None:
    """Past the pivot a failure compensates nothing and is tried forward when somebody says so, and a cancel comes too
    late [PAT-55]. Red when the pivot keeps what was registered before it."""
    broken = [True]

    async def ship(what: str) -> str:
        if broken:
            raise ConnectionError("no truck")
        return what

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        await wf.step("a", stage.do, "a", compensate=stage.fail)
        wf.pivot()
        await wf.signal("go")
        return await wf.step("ship", ship, "shipped", retry=ONCE)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("waiting")
            await stage.ask(stage.client.workflows.cancel, "r")
            await stage.until_true("select exists (select from perdure.step where name = 'cancel')")
            await stage.signal("go")
            run = await stage.until_state("failed")
            assert run.failed_step == "ship"
            broken.clear()
            await stage.ask(stage.client.workflows.retry, "r")
            assert await stage.result() == "shipped"

    asyncio.run(play())
    assert stage.did == ["a"]


@pytest.mark.parametrize("where", ["ready", "waiting", "running", "retrying", "paused"])
def test_a_cancelled_run_tidies_up_and_compensates_wherever_it_was(stage: Stage, where: str) -> None:
    """A run that is cancelled before it began, while it waits, while a step runs or is to be tried again, or while
    it is paused: no further step is begun, its code hears of it and may tidy up, what was done is undone, its wait
    is closed [DW-203, DW-8, PAT-57]. Red when a compensation is stopped by the cancel that brought it about."""
    gate, begun = asyncio.Event(), asyncio.Event()

    async def hang() -> str:
        begun.set()
        await gate.wait()
        return "late"

    async def never() -> None:
        raise ConnectionError("later")

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        try:
            await wf.step("a", stage.do, "a", compensate=undo)
            if where == "running":
                await wf.step("hang", hang)
            if where == "retrying":
                await wf.step("never", never, retry=Retry(delays=(3600.0,)))
            await wf.signal("go")
            await wf.step("b", stage.do, "b")
        except Interrupted as stop:
            await wf.step("tidy", stage.do, f"tidy {stop.reason}")
            raise

    async def play() -> None:
        if where == "ready":
            await stage.start(shop.run())
            assert await stage.ask(stage.client.workflows.cancel, "r", reason="changed my mind") == "requested"
        async with stage.working():
            if where != "ready":
                await stage.start(shop.run())
                if where == "running":
                    await asyncio.wait_for(begun.wait(), 30)
                else:
                    await stage.until_state("waiting")
                if where == "paused":
                    await stage.ask(stage.client.workflows.pause, "r")
                assert await stage.ask(stage.client.workflows.cancel, "r", reason="changed my mind") == "requested"
                gate.set()
            if where == "paused":
                await stage.ask(stage.client.workflows.resume, "r")
            with pytest.raises(WorkflowCancelled, match="changed my mind"):
                await stage.result()

    asyncio.run(play())
    assert stage.did == (["tidy cancelled"] if where == "ready" else ["a", "tidy cancelled", "undo a"])
    assert stage.value("select count(*) from perdure.waiting") == 0
    assert stage.value("select count(*) from perdure.step where ended_at is null") == 0
    assert stage.value("select count(*) from perdure.cancel_request") == 0


def test_a_cancel_reaches_the_whole_tree(stage: Stage) -> None:
    """Children end with the parent that is cancelled, and theirs with them, each compensating; one that was started to
    be left alone goes on [DW-203, DW-8]. Red when a parent's end doesn't ask its children."""

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def leaf(wf: Workflow, name: str) -> None:
        await wf.step("work", stage.do, name, compensate=undo)
        await wf.signal("go")

    @stage.app.workflow
    async def middle(wf: Workflow) -> None:
        await wf.child(leaf, "leaf", "leaf")

    @stage.app.workflow
    async def root(wf: Workflow) -> None:
        await wf.start(leaf, "free", "free")
        await wf.child(middle, "middle")

    async def play() -> None:
        async with stage.working():
            await stage.start(root.run())
            await stage.until_true("select count(*) = 4 from perdure.waiting")
            await stage.ask(stage.client.workflows.cancel, "r")
            for id in ("r", "middle", "leaf"):
                await stage.until_state("cancelled", id)
            assert (await stage.get("free")).state == "waiting"

    asyncio.run(play())
    assert sorted(stage.did) == ["free", "leaf", "undo leaf"]


def test_a_cancel_reaches_more_children_than_are_told_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """All children end with the parent that is cancelled, also when they are more than one statement asks [DW-203]. Red
    when the rest is left alone."""
    monkeypatch.setattr(limits, "RUN_TREE_MAX", 2)

    @stage.app.workflow
    async def child(wf: Workflow) -> None:
        await wf.signal("go")

    @stage.app.workflow
    async def parent(wf: Workflow) -> None:
        for number in range(5):
            await wf.start(child, f"c{number}", close="cancel")
        await wf.signal("go")

    async def play() -> None:
        async with stage.working():
            await stage.start(parent.run())
            await stage.until_true("select count(*) = 6 from perdure.waiting")
            await stage.ask(stage.client.workflows.cancel, "r")
            for number in range(5):
                await stage.until_state("cancelled", f"c{number}")

    asyncio.run(play())


def test_a_deadline_compensates(stage: Stage) -> None:
    """A run that has not ended by its deadline is told to, compensates, and has failed for that reason [PAT-57].
    Red when a run that waits isn't woken at its deadline."""

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.step("a", stage.do, "a", compensate=undo)
        await wf.signal("go", timeout=timedelta(days=1))

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run(), deadline=3_600)
            await stage.until_state("waiting")
            await stage.ask(skip, stage.db.url, timedelta(hours=2))
            with pytest.raises(WorkflowFailed) as caught:
                await stage.result()
            assert caught.value.reason == "deadline"

    asyncio.run(play())
    assert stage.did == ["a", "undo a"]


def test_a_second_saga_on_the_resource_waits_or_is_refused(stage: Stage) -> None:
    """A run's id is the mark of what it works on: while one lives, a second one for the same thing joins it or is
    refused, replace ends the first, with its compensations, before its id is anybody else's, and one of another
    workflow is never joined [PAT-59]."""

    async def undo(what: str) -> None:
        stage.did.append(f"undo {what}")

    @stage.app.workflow
    async def shop(wf: Workflow, name: str) -> str:
        await wf.step("a", stage.do, name, compensate=undo)
        await wf.signal("go")
        return name

    @stage.app.workflow
    async def other(wf: Workflow) -> None: ...

    async def play() -> None:
        async with stage.working():
            first = await stage.start(shop.run("first"), "order:1")
            await stage.until_state("waiting", "order:1")
            with pytest.raises(WorkflowExists):
                await stage.start(shop.run("second"), "order:1", on_conflict="reject")
            with pytest.raises(WorkflowExists, match="it is one of shop"):
                await stage.start(other.run(), "order:1")
            assert (await stage.start(shop.run("second"), "order:1")).job == first.job
            third = await stage.start(shop.run("third"), "order:1", on_conflict="replace")
            assert third.new
            await stage.until_true(
                "select exists (select from perdure.history where id = %s and outcome = 'cancelled')", first.job
            )
            await stage.signal("go", id="order:1")
            assert await stage.result("order:1") == "third"

    asyncio.run(play())
    assert sorted(stage.did) == ["first", "third", "undo first"]


def test_a_start_that_joins_says_whether_the_run_has_other_arguments(stage: Stage) -> None:
    """Who starts a run whose id is taken hears whether the one that is there was started with other arguments, alone
    and among many, in a queue with a bound, live and ended; their order doesn't matter, and what isn't kept any more
    differs from nothing. Red when the arguments aren't compared."""

    @stage.app.workflow(queue="narrow")
    async def shop(wf: Workflow, name: str, cents: int = 0) -> None: ...

    workflows = stage.client.workflows
    given, other = shop.run("a", cents=1), shop.run("a", cents=2)
    turned = structs.replace(given, payload='{"cents":1, "name" : "a"}')
    first = workflows.start(given, id="1")
    joined = [Started("1", first.job, False, differs) for differs in (False, False, True)]
    assert (first.new, first.differs) == (True, False)
    assert [workflows.start(each, id="1") for each in (given, turned, other)] == joined
    stage.app.queue("narrow", max_depth=9)
    stage.client.queues.declare(stage.app)
    assert [workflows.start(each, id="1") for each in (given, turned, other)] == joined
    many = workflows.start_many([(other, "2"), (other, "1"), (given, "3")])
    assert [(each.id, each.new, each.differs) for each in many] == [
        ("2", True, False), ("1", False, True), ("3", True, False)
    ]  # fmt: skip
    with pytest.raises(WorkflowExists, match="was started with other arguments"):
        workflows.start(other, id="1", on_conflict="reject")

    workflows.cancel("1", force=True)
    assert [workflows.start(each, id="1").differs for each in (given, other)] == [False, True]
    stage.conn.execute("delete from perdure.history")
    assert workflows.start(other, id="1") == joined[0]


def test_a_failure_that_the_code_handles_is_no_failure(stage: Stage) -> None:
    """StepFailed can be caught, and the run goes on without compensating anything."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        await wf.step("a", stage.do, "a", compensate=stage.fail)
        try:
            await wf.step("b", stage.fail, "b", retry=ONCE)
        except StepFailed:
            return "without b"
        return "with b"

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == "without b"

    asyncio.run(play())
