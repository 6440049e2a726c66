"""What people and programs do to runs: look, ask, pause, mend, fork; and what runs say of themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import Retry, UpdateRefused, Workflow
from perdure.admin.explain import explain
from perdure.core.errors import JobNotRetryable
from perdure.core.run_errors import WorkflowFinished, WorkflowState
from perdure.jobs.letters import NothingMatches
from perdure.pg.drive import drive
from perdure.workflows.ops.control import stuck
from tests.rooms.worker.stage import BOUND_SECONDS
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)


def test_a_failed_step_is_retried_skipped_or_its_run_cancelled(stage: Stage) -> None:
    """A run whose step is exhausted stands in a state that everybody sees, with the step named; from there it is
    retried, the step is taken for done with a result of a person's, or the run is filed [DW-202].

    Red when a retry leaves the failed record in place.
    """
    broken = [True]

    async def pay(what: str) -> str:
        stage.did.append(what)
        if broken:
            raise ConnectionError("declined")
        return "paid"

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        await wf.step("a", stage.do, "a")
        return await wf.step("pay", pay, wf.id, retry=ONCE)

    async def play() -> None:
        async with stage.working():
            for id in ("retried", "skipped", "cancelled"):
                await stage.start(shop.run(), id)
                run = await stage.until_state("failed", id)
                assert (run.failed_step, run.place) == ("pay", "dead")
            broken.clear()
            await stage.ask(stage.client.workflows.retry, "retried")
            assert await stage.result("retried") == "paid"
            await stage.ask(stage.client.workflows.skip, "skipped", "pay", result="by hand", note="ann")
            assert await stage.result("skipped") == "by hand"
            assert await stage.ask(stage.client.workflows.cancel, "cancelled") == "discarded"
            with pytest.raises(WorkflowState):
                await stage.ask(stage.client.workflows.retry, "retried")

    asyncio.run(play())
    assert stage.did.count("a") == 3
    assert stage.did.count("retried") == 2
    assert stage.did.count("skipped") == 1


def test_a_step_that_is_to_be_tried_again_is_tried_at_once(stage: Stage) -> None:
    """A person who has mended the cause doesn't wait for the hours of a policy: ``retry`` of a run that waits for the
    next attempt of a step makes it now, and it counts as one; a run that waits for anything else is left alone. Red
    when the step stays due later: then the run goes back to wait."""
    broken = [True]

    async def pay() -> str:
        stage.did.append("pay")
        if broken:
            raise ConnectionError("declined")
        return "paid"

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        paid = await wf.step("pay", pay, retry=Retry(max_attempts=3, delays=(3600.0, 3600.0)))
        await wf.signal("go")
        return paid

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_true("select exists (select from perdure.step where name = 'pay' and state = 'retry')")
            run = await stage.until_state("waiting")
            told = drive(stage.conn, explain(run.job), stage.db.schema)
            assert told is not None
            assert "waits for the next attempt of pay, or for its moment in" in told.because
            assert str(told.fix).startswith("perdure workflows retry r makes the next attempt now")
            broken.clear()
            await stage.ask(stage.client.workflows.retry, "r")
            await stage.until_true("select exists (select from perdure.step where name = 'signal go')")
            await stage.until_state("waiting")
            assert (await stage.timeline())["pay"].attempt == 2
            with pytest.raises(WorkflowState, match="waits for a step's next attempt"):
                await stage.ask(stage.client.workflows.retry, "r")
            await stage.signal("go")
            assert await stage.result() == "paid"

    asyncio.run(play())
    assert stage.did == ["pay", "pay"]


def test_a_dead_run_isn_t_redriven_as_a_job(stage: Stage) -> None:
    """Whoever redrives dead jobs leaves dead runs alone, and is told: alone by name, among others by number, and when
    there is nothing else; the run takes no part of it, and its own retry mends it. Red when a redrive takes a run,
    which goes on as one that has ended."""
    broken = [True]

    async def pay(what: str) -> str:
        if broken:
            raise ConnectionError("declined")
        return "paid"

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        return await wf.step("pay", pay, wf.id, retry=ONCE)

    @stage.app.task(retry=ONCE)
    async def mail() -> None:
        if broken:
            raise ConnectionError("no route")

    jobs = stage.client.jobs

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            run = await stage.until_state("failed")
            for verb in (jobs.redrive, jobs.retry):
                with pytest.raises(JobNotRetryable, match=r"is a workflow's run.*workflows\.retry"):
                    await stage.ask(verb, run.job)
            with pytest.raises(NothingMatches, match="nothing but runs of workflows, 1 of them"):
                await stage.ask(jobs.redrive_dead, by="ann", everything=True)
            [sent] = await stage.ask(jobs.enqueue_many, [mail.job()])
            await stage.until_true("select count(*) = 2 from perdure.dead")
            broken.clear()
            acted = await stage.ask(jobs.redrive_dead, by="ann", everything=True)
            assert (acted.jobs, acted.runs) == (1, 1)
            await stage.ask(jobs.wait, sent.id, timeout=BOUND_SECONDS)
            assert (await stage.get()).state == "failed"
            await stage.ask(stage.client.workflows.retry, "r")
            assert await stage.result() == "paid"

    asyncio.run(play())


def test_an_update_is_judged_by_the_run_s_validator(stage: Stage) -> None:
    """An update is answered by the workflow's validator, which sees what the run says of itself: refused with its
    message, or accepted, and then it reaches the run as a signal; an unknown one is refused with those there are, and
    one to a run that has ended at once [DW-198]. Red when a refused update reaches the run."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        wf.set(stage="open")
        first = await wf.signal("address")
        wf.set(stage="packed", address=first)
        return [first, await wf.signal("go")]

    @shop.update("address")
    async def address(value: Any, attributes: dict[str, Any]) -> str:
        if not value:
            raise ValueError("an address has at least one line")
        return f"noted while {attributes['stage']}"

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("waiting")
            update = stage.client.workflows.update
            with pytest.raises(UpdateRefused, match="at least one line"):
                await stage.ask(update, "r", "address", "")
            with pytest.raises(UpdateRefused, match="there is address"):
                await stage.ask(update, "r", "colour", "red")
            assert await stage.ask(update, "r", "address", "1 Main St") == "noted while open"
            await stage.until_true("select attributes->>'stage' = 'packed' from perdure.run")
            assert await stage.ask(stage.client.workflows.query, "r", "address") == "1 Main St"
            await stage.signal("go", 1)
            assert await stage.result() == ["1 Main St", 1]
            with pytest.raises(WorkflowFinished):
                await stage.ask(update, "r", "address", "2 Main St")

    asyncio.run(play())


def test_runs_are_found_by_name_state_and_what_they_say(stage: Stage) -> None:
    """Runs are listed newest first, by workflow, by state, and by attributes; a query reads them without running
    anything [DW-208]."""

    @stage.app.workflow
    async def shop(wf: Workflow, customer: int) -> None:
        wf.set(customer=customer, progress=0.5)
        await wf.signal("go")

    async def play() -> None:
        async with stage.working():
            for number in range(3):
                await stage.start(shop.run(number % 2), f"r{number}", attributes={"region": "eu"} if number else None)
            await stage.until_true("select count(*) = 3 from perdure.waiting")
        listed = stage.client.workflows.list
        assert [run.id for run in listed(state="waiting")] == ["r2", "r1", "r0"]
        assert [run.id for run in listed(attributes={"customer": 0})] == ["r2", "r0"]
        assert [run.id for run in listed(attributes={"region": "eu"}, limit=1)] == ["r2"]
        assert listed(limit=1).next is not None
        assert list(listed(name="other")) == []
        assert stage.client.workflows.query("r1") == {"customer": 1, "progress": 0.5, "region": "eu"}

    asyncio.run(play())


def test_a_paused_run_goes_no_further_than_its_next_step(stage: Stage) -> None:
    """A pause lets the step that runs end, parks the run there, and nothing moves it until it is resumed; a signal that
    comes meanwhile is kept [DW-196]. Red when a paused run is run all the same."""
    gate, begun = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await gate.wait()
        return "slow"

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        await wf.step("slow", slow)
        await wf.step("b", stage.do, "b")
        return [await wf.signal("go")]

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await asyncio.wait_for(begun.wait(), 30)
            await stage.ask(stage.client.workflows.pause, "r")
            gate.set()
            await stage.until_true("select exists (select from perdure.held where reason = 'paused')")
            assert (await stage.get()).state == "paused"
            await stage.signal("go", 1)
            assert stage.did == []
            await stage.ask(stage.client.workflows.resume, "r")
            assert await stage.result() == [1]

    asyncio.run(play())
    assert stage.did == ["b"]


def test_a_run_is_forked_or_rewound_from_a_step(stage: Stage) -> None:
    """A fork is a new run that has done what the other had done before the step; a rewind lets the run itself do again
    what it did from there on; what stands before is done by neither again [DW-202]."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        found = [await wf.step(name, stage.do, f"{wf.id} {name}") for name in ("a", "b", "c")]
        await wf.signal("go")
        return found

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("waiting")
            await stage.ask(stage.client.workflows.fork, "r", step="b", new_id="f")
            await stage.until_state("waiting", "f")
            await stage.signal("go", id="f")
            assert await stage.result("f") == ["r a", "f b", "f c"]
            gone = await stage.ask(stage.client.workflows.rewind, "r", "c")
            assert set(gone) == {"c", "signal go"}
            await stage.until_true(
                "select count(*) = 4 from perdure.step s join perdure.run r on r.job = s.run where r.id = 'r'"
            )
            await stage.signal("go")
            assert await stage.result() == ["r a", "r b", "r c"]
            with pytest.raises(WorkflowState):
                await stage.ask(stage.client.workflows.rewind, "r", "c")

    asyncio.run(play())
    assert stage.did == ["r a", "r b", "r c", "f b", "f c", "r c"]


def test_a_run_continues_as_new(stage: Stage) -> None:
    """A run that begins anew keeps its id, its inbox and what it says of itself, and has recorded nothing [DW-194].
    Red when its old records stay."""

    @stage.app.workflow
    async def loop(wf: Workflow, round: int) -> Any:
        await wf.step("work", stage.do, round)
        wf.set(round=round)
        if round < 2:
            return wf.continue_as_new(round=round + 1)
        return [wf.round, await wf.signal("go")]

    async def play() -> None:
        await stage.start(loop.run(0))
        await stage.signal("go", "kept")
        async with stage.working():
            assert await stage.result() == [2, "kept"]
        assert list(await stage.timeline()) == ["work", "signal go"]

    asyncio.run(play())
    assert stage.did == [0, 1, 2]
    assert stage.value("select attributes->>'round' from perdure.run") == "2"


def test_a_planted_orphan_is_found(stage: Stage) -> None:
    """A run that nothing will ever move, because its job stands nowhere or waits for nothing, is told; the others
    aren't [DW-210]."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.signal("go")

    async def play() -> None:
        async with stage.working():
            for id in ("well", "nowhere", "nothing"):
                await stage.start(shop.run(), id)
                await stage.until_state("waiting", id)

    asyncio.run(play())
    assert drive(stage.conn, stuck()) == []
    stage.conn.execute("delete from perdure.waiting where id = (select job from perdure.run where id = 'nowhere')")
    stage.conn.execute("delete from perdure.step where run = (select job from perdure.run where id = 'nothing')")
    found = {each.id: each.problem for each in drive(stage.conn, stuck())}
    assert found.keys() == {"nowhere", "nothing"}
    assert "no place" in found["nowhere"]
    assert "for nothing" in found["nothing"]


def test_the_timeline_says_what_happened_and_what_is_waited_for(stage: Stage) -> None:
    """Each step, attempt, wait and signal of a run, in order with its times, and what it waits for now [DW-208]."""
    tried: list[int] = []

    async def flaky() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise ConnectionError("once")
        return "ok"

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        await wf.step("flaky", flaky, retry=Retry(delays=(0.05,)))
        await wf.sleep(0.01)
        await wf.signal("paid")
        await wf.signal("shipped", timeout=3600)

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.signal("paid", 1)
            await stage.until_true("select count(*) = 4 from perdure.step")
            await stage.until_state("waiting")
        moments = await stage.timeline()
        assert [(each.name, each.state, each.attempt) for each in moments.values()] == [
            ("flaky", "done", 2), ("sleep", "done", 0), ("signal paid", "done", 0), ("signal shipped", "waiting", 0),
        ]  # fmt: skip
        assert all(each.ended_at for each in list(moments.values())[:3])
        run = await stage.get()
        assert list(run.waits_for) == ["signal shipped"]
        assert run.wake_at is not None

    asyncio.run(play())


def test_old_runs_are_forgotten_with_all_they_have(stage: Stage) -> None:
    """A run that ended longer ago than history is kept goes, with its steps and its inbox; a live one stays."""
    from perdure.workflows.ops.control import prune

    @stage.app.workflow
    async def shop(wf: Workflow, wait: bool) -> None:
        await wf.step("a", stage.do, 1)
        if wait:
            await wf.signal("go")

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run(wait=True), "live")
            await stage.run(shop.run(wait=False), "old")
            await stage.until_state("waiting", "live")

    asyncio.run(play())
    stage.conn.execute(
        "update perdure.run set ended_at = ended_at - interval '20 days', created_at = created_at - interval '20 days'"
    )
    assert drive(stage.conn, prune(14)) == 1
    assert stage.rows("select id from perdure.run") == [("live",)]
    assert stage.value("select count(*) from perdure.step where run = (select job from perdure.run)") == 2
    assert stage.value("select count(*) from perdure.step") == 2
