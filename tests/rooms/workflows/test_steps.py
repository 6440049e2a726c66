"""Steps: what is recorded is never done again, what fails is tried again, and what comes back is what was recorded."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from perdure import Context, Retry, StepFailed, Workflow, WorkflowFailed
from tests.rooms.workflows.stage import Stage


@dataclass
class Charge:
    """What a step returns that is more than plain JSON."""

    id: str
    amount: int


async def charge_card(order: int) -> Charge:
    """Returns a dataclass."""
    return Charge(f"ch_{order}", 5)


def test_a_run_does_each_step_once_whatever_it_runs_in(stage: Stage) -> None:
    """Async and sync steps run once each, in order, results come back in the type that the function says, occurrences
    of a name are numbered, and the record of each stands before the next begins [DW-190, DW-207, DW-194].

    Red when a replay calls what is recorded: the signal makes one.
    """

    @stage.app.workflow(version=1)
    async def shop(wf: Workflow, order: int) -> str:
        charge = await wf.step("charge", charge_card, order)
        for item in range(3):
            await wf.step("pick", stage.do_sync, item)
        await wf.signal("go")
        return f"{charge.id} {await wf.step('send', stage.do, 'sent')}"

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run(order=7))
            await stage.until_state("waiting")
            recorded = list((await stage.timeline()).values())
            await stage.signal("go")
            assert await stage.result() == "ch_7 sent"
            assert [each.name for each in recorded] == ["charge", "pick", "pick#2", "pick#3", "signal go"]
            assert {each.state for each in recorded} == {"done", "waiting"}

    asyncio.run(play())
    assert stage.did == [0, 1, 2, "sent"]


def test_starting_twice_gives_one_run(stage: Stage) -> None:
    """Many callers that start one id at the same moment get one run, of which one of them is told that it is new; the
    instance and its first job are written together or not at all [DW-189]. Red without the unique id of runs."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> int:
        return await wf.step("one", stage.do, 1)

    async def play() -> None:
        started = await asyncio.gather(*(stage.start(shop.run()) for _ in range(20)))
        with contextlib.suppress(ZeroDivisionError), stage.client.transaction() as tx:
            tx.workflows.start(shop.run(), id="other")
            print(1 // (len(started) - 20))
        async with stage.working():
            assert await stage.result() == 1
        assert sum(each.new for each in started) == 1
        assert len({each.job for each in started}) == 1

    asyncio.run(play())
    assert stage.did == [1]
    assert stage.rows("select id from perdure.run") == [("r",)]
    assert stage.value("select count(*) from perdure.jobs") == 1


def test_a_failed_step_is_tried_again_without_a_worker_in_between(stage: Stage) -> None:
    """A step is repeated by its own policy, the time between attempts is spent in waiting, and the last error is
    recorded for the code to catch [DW-202, DW-200]. Red when the policy of a step is ignored."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            await wf.step("pay", stage.fail, "pay", retry=Retry(max_attempts=3, delays=(0.1, 0.1), jitter="none"))
        except StepFailed as error:
            return f"{error.step}: {error.kind}, {error.reason}"
        return "paid"

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == "pay: ValueError, exhausted"

    asyncio.run(play())
    assert stage.did == ["pay"] * 3
    assert stage.rows("select distinct ending from perdure.attempt") == [("waiting",)]
    assert stage.value("select attempt from perdure.step where name = 'pay'") == 3


def test_a_step_that_hangs_is_ended_by_its_timeout(stage: Stage) -> None:
    """A step on the loop is cancelled at its time-out and one in a thread is given up: both fail with TimeoutError,
    what the thread still returns is dropped, and the run goes on [KIT-40]. Red when a thread is waited for."""
    release = asyncio.Event()
    told: list[str] = []

    async def hang() -> None:
        await release.wait()

    def block() -> None:
        while not told:
            pass

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[str]:
        found = []
        for step in (hang, block):
            try:
                await wf.step(step.__name__, step, timeout=timedelta(milliseconds=50), retry=Retry(max_attempts=1))
            except StepFailed as error:
                found.append(error.kind)
        return found

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == ["TimeoutError", "TimeoutError"]
            told.append("enough")

    asyncio.run(play())


def test_a_thread_that_was_given_up_is_accounted_for(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A function that goes on in its thread after its step has failed takes one of the worker's, and the log says so; a
    step that had none in its time wasn't called, and is told just that [KIT-40]. Red when nothing is said of the
    thread, and when what was never called is said to be running."""
    release = threading.Event()
    called: list[int] = []

    def block(number: int) -> None:
        release.wait()

    def late(number: int) -> None:
        called.append(number)

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[str]:
        found = []
        for function, seconds in ((block, 1.0), (late, 0.05)):
            try:
                await wf.step(function.__name__, function, 1, timeout=seconds, retry=Retry(max_attempts=1))
            except StepFailed as error:
                found.append(str(error))
        release.set()
        await wf.step("free", late, 2)
        return found

    async def play() -> list[str]:
        async with stage.working(queues={"default": 1}):
            found: list[str] = await stage.run(shop.run())
            return found

    running, uncalled = asyncio.run(play())
    assert "still running after 1 s" in running
    assert "wasn't called within 0.05 s, its timeout: other steps had every thread (1)" in uncalled
    assert called == [2]
    assert any("block goes on in its thread" in each.getMessage() for each in caplog.records)


def test_a_transaction_commits_what_the_application_wrote_with_the_step(stage: Stage) -> None:
    """The application's rows and the record of the step stand together or not at all; a replay leaves the block at its
    first use and has what was kept; a block that fails is rolled back and tried again [DW-190].

    Red when the record is written in a transaction of its own.
    """
    stage.conn.execute("create table paid (order_id int primary key, version int)")
    tried: list[int] = []

    @stage.app.workflow
    async def shop(wf: Workflow, order: int) -> list[int]:
        async with wf.transaction("pay", retry=Retry(max_attempts=3, delays=(0.05,), jitter="none")) as tx:
            tried.append(order)
            await tx.connection.execute("insert into paid values (%s, 1)", [order])
            if len(tried) == 1:
                raise ConnectionError("once")
            row = await (await tx.connection.execute("select version from paid")).fetchone()
            tx.keep(row[0])
        kept = wf.attributes
        block = wf.transaction("more")
        async with block as tx:
            tx.keep(tx.jobs is not None)
        await wf.signal("go")
        return [len(kept), int(block.kept)]

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run(order=7))
            await stage.until_state("waiting")
            await stage.until_true("select count(*) = 3 from perdure.step")
            assert stage.rows("select * from paid") == [(7, 1)]
            await stage.signal("go")
            assert await stage.result() == [0, 1]

    asyncio.run(play())
    assert tried == [7, 7, 7]
    assert stage.rows("select * from paid") == [(7, 1)]


def test_a_result_that_can_t_be_kept_is_said_at_once(stage: Stage) -> None:
    """A result without a JSON form, or larger than its bound, fails its step with an error that names it, and is not
    tried again: it has been done [DW-207]. Red without the bound."""

    @stage.app.workflow
    async def shop(wf: Workflow, size: int) -> None:
        await wf.step("read", (lambda: "x" * size) if size else object)

    async def play() -> None:
        async with stage.working():
            with pytest.raises(WorkflowFailed, match="read: the encoded value has 1,500,002 bytes"):
                await stage.run(shop.run(size=1_500_000), "large")
            with pytest.raises(WorkflowFailed, match="read"):
                await stage.run(shop.run(size=0), "object")

    asyncio.run(play())


def test_a_step_may_run_in_a_child_process(stage: Stage) -> None:
    """A task that is declared for a process runs there also as a step, and its result is recorded."""
    from tests.rooms.workflows.children import factorise

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[int]:
        return await wf.step("factors", factorise, 15)

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == [3, 5]

    asyncio.run(play())


def test_now_random_and_uuid_come_out_the_same_at_each_replay(stage: Stage) -> None:
    """What the handle gives for time and chance is the same in every replay of a run, and another in another run."""
    seen: list[tuple[object, ...]] = []

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.step("one", stage.do, 1)
        seen.append((wf.id, wf.now(), wf.random(), wf.uuid()))
        await wf.signal("go")

    async def play() -> None:
        async with stage.working():
            for id in ("a", "b"):
                await stage.start(shop.run(), id)
                await stage.until_state("waiting", id)
                await stage.signal("go", id=id)
                await stage.result(id)

    asyncio.run(play())
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert not set(seen[0]) & set(seen[2])


def test_a_step_calls_partials_and_tasks_as_code_writes_them(stage: Stage) -> None:
    """A partial is known by the function that it calls, so a loop may make a new one each time, and its result has that
    function's type; a task that takes its context first is called with the others by position.

    Red when a partial is known by its address in memory, or the context comes by name only.
    """

    @stage.app.task
    async def ship(ctx: Context, order: int) -> str:
        return f"{order} for job {ctx.job.id}"

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[object]:
        charges = [await wf.step("charge", partial(charge_card, order)) for order in (1, 2)]
        return [charges[0].id, charges[1].id, await wf.step("ship", ship, 7)]

    async def play() -> None:
        async with stage.working():
            job = (await stage.start(shop.run())).job
            assert await stage.result() == ["ch_1", "ch_2", f"7 for job {job}"]

    asyncio.run(play())


@pytest.mark.parametrize("what", ["transaction", "complete", "checkpoint", "child"])
def test_a_step_can_t_end_the_job_of_its_run(stage: Stage, what: str) -> None:
    """A task that commits with the end of its job, or says how far that is, fails as a step, in a child process too,
    and says what to do instead; the run goes on. Red when its rows are rolled back and the step is recorded as done, or
    the run is taken for completed."""
    from tests.rooms.workflows.children import pay_in_child

    @stage.app.task
    async def pay(ctx: Context) -> None:
        if what == "transaction":
            async with ctx.transaction():
                pass
        elif what == "checkpoint":
            await ctx.checkpoint(1)
        else:
            async with await psycopg.AsyncConnection.connect(stage.db.url) as conn:
                await ctx.on(conn).complete()

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            await wf.step("pay", pay_in_child if what == "child" else pay, retry=Retry(max_attempts=1))
        except StepFailed as error:
            return error.message
        return "done"

    async def play() -> None:
        async with stage.working():
            assert "is of the whole job, and this is a step of a run" in await stage.run(shop.run())

    asyncio.run(play())


@pytest.mark.parametrize("name", ["cancel", "undo a", "patch a", "a#2"])
def test_a_step_takes_no_name_that_runs_use_themselves(stage: Stage, name: str) -> None:
    """A step named like a record of another kind is refused, and its run parked: as a cancel it would keep the run from
    being cancelled, as a compensation it would take the place of one. Red without the check."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.step("a", stage.do, "a", compensate=stage.do)
        await wf.step(name, stage.do, name)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            run = await stage.until_state("parked")
            assert run.error == f"{name}: is a name that runs use themselves; give the step another name"

    asyncio.run(play())
    assert stage.did == ["a"]


def test_policies_that_are_none_are_refused_where_they_are_given(stage: Stage) -> None:
    """``retry`` of a transaction and ``undo_retry`` are checked when the step is made, not when they are needed; the
    run is parked. Red when it fails at its first retry, or at its compensation."""

    @stage.app.workflow
    async def shop(wf: Workflow, undo: bool) -> None:
        if undo:
            await wf.step("a", stage.do, "a", compensate=stage.do, undo_retry=3)  # type: ignore[call-overload]
        await wf.transaction("t", stage.do, retry=3)  # type: ignore[arg-type]

    async def play() -> None:
        async with stage.working():
            for undo in (True, False):
                await stage.start(shop.run(undo), id=str(undo))
                held = await stage.until_state("parked", id=str(undo))
                assert held.error is not None
                assert "retry: got int; give a Retry" in held.error

    asyncio.run(play())
    assert stage.did == []


@pytest.mark.parametrize("way", ["step", "compensated", "function", "block"])
def test_what_is_tried_for_so_long_is_given_up(stage: Stage, way: str) -> None:
    """A policy's ``max_elapsed`` bounds the attempts of a step, or of a transaction in either form, from the first one
    on, whoever made that. Red when each attempt begins anew: then all of them are made."""
    soon = Retry(max_attempts=50, delays=(0.2,) * 50, jitter="none", max_elapsed=0.7)

    async def fail(_: Any = None) -> None:
        stage.did.append(way)
        raise ValueError("no")

    async def undo() -> None: ...

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        if way == "function":
            await wf.transaction("x", fail, retry=soon)
        elif way == "block":
            async with wf.transaction("x", retry=soon):
                await fail()
        else:
            await wf.step("x", fail, retry=soon, compensate=undo if way == "compensated" else None)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("compensated" if way == "compensated" else "failed")
            assert (await stage.timeline())["x"].outcome["reason"] == "max_elapsed"

    asyncio.run(play())
    assert len(stage.did) <= 4
