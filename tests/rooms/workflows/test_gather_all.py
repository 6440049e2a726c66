"""Whatever a workflow can await it can gather: transactions, tokens and waits beside steps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure import Retry, StepFailed, Workflow
from perdure.workflows.loops.gatherer import Gatherer
from perdure.workflows.loops.recorder import Recorder
from tests.rooms.workflows.stage import Stage
from tests.rooms.workflows.test_gather import Counter

ONCE = Retry(max_attempts=1)


@dataclass
class Parcel:
    """What a signal brings."""

    id: int


@pytest.fixture
def paid(stage: Stage) -> Stage:
    """The stage, with a table of the application's."""
    stage.conn.execute("create table paid (id int primary key)")
    return stage


async def pay(tx: Any, id: int) -> int:
    """Write a row in the step's transaction."""
    await tx.connection.execute("insert into paid values (%s)", [id])
    return id * 10


def test_everything_that_can_be_awaited_can_be_gathered(paid: Stage) -> None:
    """Transactions, a token, a sleep until a moment, a typed signal, a child that isn't waited for and a step, side by
    side, no more at a time than said: each has its own result, each transaction its own rows, and a replay repeats
    them. Red when two transactions share what they are about to record."""
    replays: list[Any] = []
    paid.conn.execute(
        "create function late() returns trigger language plpgsql as 'begin perform pg_sleep(0.3); return null; end'"
    )
    paid.conn.execute(  # so that the first one is committing while the others are
        "create constraint trigger late after insert on paid deferrable initially deferred "
        "for each row when (new.id = 1) execute function late()"
    )

    @paid.app.workflow
    async def child(wf: Workflow) -> None: ...

    @paid.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        async with wf.gather(limit=4) as group:
            several = [group.transaction("pay", pay, number) for number in (1, 2, 3)]
            others = [group.token("approved"), group.sleep_until(datetime(2020, 1, 1, tzinfo=UTC)),
                      group.signal("parcel", type=Parcel), group.start(child, "alone"),
                      group.step("s", paid.do, "s")]  # fmt: skip
        found = [each.result for each in [*several, *others]]
        replays.append(found)
        await wf.signal("go")
        return [*found[:3], found[3][:3], found[4], found[5].id, *found[6:]]

    async def play() -> None:
        await paid.start(shop.run())
        await paid.signal("parcel", {"id": 5})  # before: one that came when all else is done would be waited for
        async with paid.working():
            await paid.until_true("select count(*) = 1 from perdure.step where name = 'signal go'")
            await paid.signal("go")
            assert await paid.result() == [10, 20, 30, "wf_", None, 5, "alone", "s"]
            assert await paid.result("alone") is None

    asyncio.run(play())
    assert paid.rows("select id from paid order by id") == [(1,), (2,), (3,)]
    assert replays[0] == replays[1]
    endings = "select ending, count(*) from perdure.attempt join perdure.run r on r.job = attempt.job "
    assert paid.rows(endings + "where r.id = 'r' group by ending") == [("waiting", 1)]  # it went through at once


def test_a_transaction_beside_a_failure_is_rolled_back(paid: Stage) -> None:
    """The first failure stops a transaction that is open beside it: its rows are rolled back, it is recorded as
    cancelled, and it isn't tried again. Red when it is seen out, or when its rows stay."""

    async def slow(tx: Any) -> None:
        await pay(tx, 1)
        await count.hang()

    @paid.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            async with wf.gather() as group:
                open_ = group.transaction("open", slow)
                group.step("bad", count.fail, "bad luck", retry=ONCE)
        except StepFailed as error:
            assert open_.error is not None
            return f"{error.step}, {open_.error.reason}"
        return "?"

    count = Counter()

    async def play() -> None:
        async with paid.working():
            assert await paid.run(shop.run()) == "bad, cancelled"
            assert (await paid.timeline())["open"].state == "cancelled"

    asyncio.run(play())
    assert paid.rows("select id from paid") == []
    assert count.cancelled == 1


def test_a_gathered_transaction_never_stands_without_what_came_before(paid: Stage) -> None:
    """What was to be written with the next record is written before a gathered transaction commits, so that a crash
    after it finds both; one that is refused is tried again by itself [KIT-39, DW-204]. Red when the transaction commits
    alone: replayed, a patch would turn to the old way."""
    tried: list[int] = []
    gate, written = asyncio.Event(), asyncio.Event()

    async def refused_once(tx: Any) -> int:
        tried.append(await pay(tx, 2))
        await written.wait()
        if len(tried) == 1:
            raise ConnectionError("again")
        return 1

    @paid.app.workflow
    async def shop(wf: Workflow) -> list[Any]:
        new = wf.patched("new way")
        async with wf.gather() as group:
            group.transaction("pay", pay, 1)
            first = group.transaction("refused", refused_once, retry=Retry(delays=(0.05,)))
            second = group.step("beside", gate.wait)
        return [new, first.result, second.result]

    async def play() -> None:
        async with paid.working():
            await paid.start(shop.run())
            await paid.until_true("select count(*) = 1 from perdure.step where name = 'pay' and state = 'done'")
            assert paid.value("select count(*) from perdure.step where kind = 'patch'") == 1
            written.set()
            await paid.until_true("select count(*) = 1 from perdure.step where name = 'refused' and state = 'done'")
            assert (await paid.get()).place == "leased"
            gate.set()
            assert await paid.result() == [True, 1, True]

    asyncio.run(play())
    assert paid.rows("select id from paid order by id") == [(1,), (2,)]
    assert len(tried) == 2


def test_a_step_that_was_about_to_begin_isn_t_begun_after_the_failure(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step whose beginning is being written when a sibling fails isn't called any more [KIT-37]. Red when only the
    calls that run already are stopped: the failure would be told when the step has ended."""
    decided = asyncio.Event()
    pending, stop = Recorder.pending, Gatherer._stop

    async def slowly(self: Recorder, command: Any, *args: Any, **options: Any) -> Any:
        recorded = await pending(self, command, *args, **options)
        if command.name == "late":
            await decided.wait()
        return recorded

    async def noted(self: Gatherer) -> None:
        decided.set()
        await stop(self)

    monkeypatch.setattr(Recorder, "pending", slowly)
    monkeypatch.setattr(Gatherer, "_stop", noted)

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            async with wf.gather() as group:
                group.step("late", stage.do, "late", compensate=stage.do)
                group.step("bad", stage.fail, "bad", retry=ONCE)
        except StepFailed as error:
            return str(error.step)
        return "?"

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == "bad"
            assert (await stage.timeline())["late"].state == "cancelled"

    asyncio.run(play())
    assert stage.did == ["bad"]


def test_a_transaction_without_a_function_isn_t_gathered(stage: Stage) -> None:
    """A gathered transaction needs its function: one without is a mistake of the code, told by its name, and the run is
    parked. Red when the block would be left open beside others."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        async with wf.gather() as group:
            group.transaction("pay", None)  # type: ignore[arg-type]

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            run = await stage.until_state("parked")
            assert "pay: has no function to call" in str(run.error)

    asyncio.run(play())


def test_each_token_of_a_name_answers_the_signal_of_that_name(stage: Stage) -> None:
    """The second token of a name sends the signal that the code waits for, as the first does [DW-200]. Red when its
    signal is called by the number of the token."""
    given: list[str] = []

    @stage.app.workflow
    async def approvals(wf: Workflow) -> list[Any]:
        found = []
        for _ in range(2):
            token = await wf.token("approved")
            await wf.step("mail", given.append, token)
            found.append(await wf.signal("approved", timeout=timedelta(days=3)))
        return found

    async def play() -> None:
        async with stage.working():
            await stage.start(approvals.run())
            for number in (1, 2):
                await stage.until_true("select count(*) = %s from perdure.step where kind = 'signal'", number)
                assert await stage.ask(stage.client.workflows.callback, given[-1], number)
            assert await stage.result() == [1, 2]

    asyncio.run(play())
