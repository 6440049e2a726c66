"""Waiting: sleeps, signals, time-outs and children; what comes early, twice, late, or to nobody."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import timedelta

import pytest

from perdure import StepFailed, StepTimeout, Workflow
from perdure.core.run_errors import WorkflowFinished, WorkflowNotFound
from perdure.fleet.ops import workers
from perdure.jobs.floors import Floor
from perdure.jobs.ops.claim import claim
from perdure.jobs.ops.queues import ensure
from perdure.jobs.ops.wake import rouse
from perdure.pg.drive import drive
from perdure.testing import skip
from perdure.workflows.ops import after
from tests.rooms.worker.stage import until
from tests.rooms.workflows.stage import Stage


@dataclass
class Parcel:
    """What a signal brings."""

    id: int


def test_a_sleep_ends_neither_early_nor_much_late_across_restarts(stage: Stage) -> None:
    """A sleep holds no lease, survives the worker, is not ended by being woken for something else, and ends within
    a second or so of its moment [DW-195, DW-200]. Red when a run that is woken takes its sleep for over."""

    @stage.app.workflow
    async def nap(wf: Workflow) -> str:
        await wf.step("one", stage.do, "begun")
        await wf.sleep(timedelta(hours=1))
        return "slept"

    async def play() -> None:
        async with stage.working():
            await stage.start(nap.run())
            await stage.until_state("waiting")
            held = "perdure.lease, unnest(jobs, generations) t(id, generation) join perdure.job using (id, generation)"
            assert stage.value(f"select count(*) from {held}") == 0
        async with stage.working():
            with stage.conn.transaction():
                drive(stage.conn, after.rouse([(await stage.get()).job]))
            await stage.until_true("select count(*) = 2 from perdure.attempt where ending = 'waiting'")
            await stage.ask(skip, stage.db.url, timedelta(hours=1, seconds=-1))
            assert await stage.result() == "slept"

    asyncio.run(play())
    assert stage.did == ["begun"]
    late = stage.value(
        "select extract(epoch from r.ended_at - (s.due_at - r.skew)) from perdure.run r "
        "join perdure.step s on s.run = r.job where s.kind = 'sleep'"
    )
    assert 0 <= late < 30


def test_a_signal_that_comes_early_is_kept(stage: Stage) -> None:
    """Signals sent before the run begins, or before it asks, are kept in the order of sending, each for one time of
    asking [DW-197]. Red when a signal without a waiting run is dropped."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[object]:
        return [
            await wf.signal("paid"),
            await wf.signal("other", timeout=0.01) if wf.id == "never" else None,
            await wf.signal("paid"),
        ]

    async def play() -> None:
        await stage.start(shop.run())
        for number in (1, 2, 3):
            assert await stage.signal("paid", number)
        async with stage.working():
            assert await stage.result() == [1, None, 2]

    asyncio.run(play())
    assert stage.rows("select payload::text, taken from perdure.signal order by id") == [
        ("1", "signal paid"), ("2", "signal paid#2"), ("3", None)]  # fmt: skip


def test_a_signal_is_read_as_any_type_that_is_given(stage: Stage) -> None:
    """``type`` may be a list of something, or something or None, as well as a class. Red when what isn't a class is
    dropped."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[object]:
        many = await wf.signal("many", type=list[Parcel])
        one = await wf.signal("one", type=Parcel | None)  # type: ignore[arg-type]
        return [many[0].id, one.id]

    async def play() -> None:
        await stage.start(shop.run())
        await stage.signal("many", [{"id": 1}])
        await stage.signal("one", {"id": 2})
        async with stage.working():
            assert await stage.result() == [1, 2]

    asyncio.run(play())


def test_a_duplicate_or_late_signal_is_told(stage: Stage) -> None:
    """A second signal with a key is dropped and its sender told, one to a run that has ended or never was is refused
    with an error of its own, and SQL answers the same in a word [DW-198]. Red without the unique key of signals."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[object]:
        first = await wf.signal("paid")
        try:
            return [first, await wf.signal("paid", timeout=0.05)]
        except StepTimeout as error:
            return [first, error.kind]

    async def play() -> None:
        await stage.start(shop.run())
        assert await stage.signal("paid", 1, key="once")
        assert not await stage.signal("paid", 2, key="once")  # while it lives: once it has ended it is finished
        async with stage.working():
            assert await stage.result() == [1, "TimeoutError"]
            with pytest.raises(WorkflowFinished):
                await stage.signal("paid", 3)
            with pytest.raises(WorkflowNotFound):
                await stage.signal("paid", 3, id="nobody")

    asyncio.run(play())
    said = [stage.value("select perdure.signal_v1(%s, 'paid', '1')", id) for id in ("r", "nobody")]
    assert said == ["finished", "missing"]
    assert stage.value("select count(*) from perdure.signal") == 1


def test_a_signal_wakes_in_the_sender_s_transaction(stage: Stage) -> None:
    """The run is moved to ready in the transaction that sends, a rollback leaves it waiting, and the state it had is
    there when it goes on [DW-196]. Red when the wake is sent apart from the signal."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> object:
        before = await wf.step("count", stage.do, 41)
        return [before, await wf.signal("paid")]

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("waiting")
        with contextlib.suppress(ZeroDivisionError), stage.client.transaction() as tx:
            tx.workflows.signal("r", "paid", 0)
            assert tx.workflows.get("r").place == "ready"
            print(1 / len(stage.rows("select 1 where false")))
        assert (await stage.get()).place == "waiting"
        with stage.client.transaction() as tx:
            tx.workflows.signal("r", "paid", 1)
        assert (await stage.get()).place == "ready"
        async with stage.working():
            assert await stage.result() == [41, 1]

    asyncio.run(play())
    assert stage.did == [41]


def test_a_signal_by_sql_wakes_too(stage: Stage) -> None:
    """signal_v1 does what the client does: it wakes, and tells duplicates [DW-196]."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> object:
        return await wf.signal("paid")

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            await stage.until_state("waiting")
            said = [stage.value("select perdure.signal_v1('r', 'paid', '{\"n\": 1}', 'k')") for _ in range(2)]
            assert said[0] == "sent"
            assert said[1] in ("duplicate", "finished")
            assert await stage.result() == {"n": 1}

    asyncio.run(play())


def test_of_signal_and_timeout_exactly_one_wins(stage: Stage) -> None:
    """A thousand signals, each sent at the very moment of its run's time-out: each run takes one or the other, once,
    and a signal is taken exactly by the runs that say so [DW-199, DW-200]. Red when the time-out is decided outside of
    the record."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            return str(await wf.signal("paid", timeout=3_600.0))
        except StepTimeout:
            return "late"

    def send(number: int, runs: list[tuple[str, float]]) -> None:
        """A few milliseconds about the moment, by turns before and after."""
        with stage.db.connect() as conn:
            for place, (id, left) in enumerate(runs):
                off = ((place * 7 + number) % 11 - 5) * 0.004
                time.sleep(max(left + off - (time.monotonic() - began), 0))
                conn.execute("select perdure.signal_v1(%s, 'paid', '\"paid\"')", [id])

    began = 0.0

    async def play() -> list[tuple[str, str, bool]]:
        nonlocal began
        async with stage.working(queues={"default": 200}):
            stage.client.workflows.start_many((shop.run(), f"r{number}") for number in range(1_000))
            await stage.until_true("select count(*) = 1000 from perdure.waiting")
            began = time.monotonic()
            due = stage.rows(
                "select r.id, extract(epoch from s.due_at - clock_timestamp())::float8 from perdure.run r "
                "join perdure.step s on s.run = r.job order by s.due_at"
            )
            early = due[0][1] - 1.0  # so that the first one is over in a second, however long it took to start them
            await stage.ask(skip, stage.db.url, early)
            runs = [(id, left - early) for id, left in due]
            await asyncio.gather(*(asyncio.to_thread(send, number, runs[number::4]) for number in range(4)))
            await stage.until_true("select count(*) = 1000 from perdure.run where ended_at is not null")
        return stage.rows(
            "select r.id, h.result #>> '{}', exists (select from perdure.signal s where s.run = r.job "
            "and s.taken is not null) from perdure.run r join perdure.history h on h.id = r.job"
        )

    found = asyncio.run(play())
    assert len(found) == 1_000
    assert {(result, taken) for _, result, taken in found} <= {("paid", True), ("late", False)}


def test_a_signal_isn_t_missed_by_a_run_that_goes_to_wait(stage: Stage) -> None:
    """A transaction that has sent a signal and stays open while the run goes to wait: the run waits for a moment only,
    holds up nobody, and has the signal once that commits. Red when a run goes to wait without locking its row."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> object:
        await wf.step("go", gate.wait)
        return await wf.signal("paid")

    @stage.app.workflow
    async def other(wf: Workflow) -> None:
        await wf.step("one", stage.do, 1)

    gate = asyncio.Event()

    async def play() -> None:
        async with stage.working():
            await stage.start(shop.run())
            with stage.client.transaction() as tx:
                tx.workflows.signal("r", "paid", 7)
                gate.set()
                await stage.until_true("select count(*) > 0 from perdure.attempt where ending = 'waiting'")
                await stage.run(other.run(), "other")
            assert await stage.result() == 7

    asyncio.run(play())


def test_a_parent_waits_for_its_child_and_hears_how_it_ended(stage: Stage) -> None:
    """A child is a run of its own that is started once; its parent waits without a lease, is woken by its end, and gets
    its result or its error. A detached one isn't waited for. Red when a child's end wakes nobody."""

    @stage.app.workflow
    async def child(wf: Workflow, well: bool) -> int:
        return await wf.step("work", stage.do if well else stage.fail, 5, retry=None)

    @stage.app.workflow
    async def parent(wf: Workflow) -> list[object]:
        good = await wf.child(child, "good", well=True)
        try:
            await wf.child(failing, "bad")
        except StepFailed as error:
            return [good, error.kind, await wf.start(child, "alone", well=True)]
        return []

    @stage.app.workflow
    async def failing(wf: Workflow) -> None:
        raise ValueError("no luck")

    async def play() -> None:
        async with stage.working():
            assert await stage.run(parent.run()) == [5, "WorkflowFailed", "alone"]
            assert await stage.result("alone") == 5

    asyncio.run(play())
    assert stage.did == [5, 5]


def test_a_forced_end_is_heard_by_parent_and_children(stage: Stage) -> None:
    """A run that is ended by force has ended for everybody: its parent goes on with the error, its children are asked
    to end, and it is forgotten in time [DW-203]. Red when only the job of the run is filed."""

    @stage.app.workflow
    async def leaf(wf: Workflow) -> None:
        await wf.signal("go")

    @stage.app.workflow
    async def middle(wf: Workflow) -> None:
        await wf.child(leaf, "leaf")

    @stage.app.workflow
    async def root(wf: Workflow) -> str:
        try:
            return str(await wf.child(middle, "middle"))
        except StepFailed as error:
            return error.kind

    async def play() -> None:
        async with stage.working():
            await stage.start(root.run())
            await stage.until_true("select count(*) = 3 from perdure.waiting")
            assert await stage.ask(stage.client.workflows.cancel, "middle", force=True) == "cancelled"
            assert await stage.result() == "WorkflowCancelled"
            await stage.until_state("cancelled", "leaf")

    asyncio.run(play())
    assert stage.value("select count(*) from perdure.run where ended_at is null") == 0


def test_somebody_outside_answers_with_a_token(stage: Stage) -> None:
    """A token is a secret that answers once; another one, or a second time, is nobody's [DW-200]."""
    given: list[str] = []

    @stage.app.workflow
    async def approval(wf: Workflow) -> object:
        token = await wf.token("approved")
        await wf.step("mail", given.append, token)
        return await wf.signal("approved", timeout=timedelta(days=3))

    async def play() -> None:
        async with stage.working():
            await stage.start(approval.run())
            await stage.until_state("waiting")
            with pytest.raises(WorkflowNotFound):
                await stage.ask(stage.client.workflows.callback, f"{given[0]}x", True)
            assert await stage.ask(stage.client.workflows.callback, given[0], {"by": "ann"})
            assert await stage.result() == {"by": "ann"}

    asyncio.run(play())


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_waiting_runs_hold_nothing(stage: Stage, count: int) -> None:
    """Ten thousand runs that wait (a hundred thousand, in a soak) stand in their table and nowhere else: no lease, no
    slot, no connection, and the worker has none of them in memory [DW-201]."""

    @stage.app.workflow
    async def shop(wf: Workflow) -> object:
        return await wf.signal("paid")

    async def play() -> None:
        async with stage.working(queues={"default": 200}) as worker:
            stage.client.workflows.start_many((shop.run(), f"r{number}") for number in range(count))
            await until(lambda: stage.value("select count(*) = %s from perdure.waiting", count), bound=900.0)
            await stage.until_true("select count(*) = 0 from perdure.lease")
            await until(lambda: not worker._leases and not any(runner.running for runner in worker._runners))
            assert await stage.signal("paid", 1, id="r77")
            assert await stage.result("r77") == 1

    asyncio.run(play())
    assert stage.value("select count(*) from perdure.waiting") == count - 1
    assert drive(stage.conn, rouse()) == 0


def test_a_parent_hears_at_once_of_a_child_that_a_rescue_has_buried(stage: Stage) -> None:
    """A child that has taken its worker with it too often is buried by whoever rescues its job; the parent that waits
    for it goes on with that, and doesn't wait for ever. Red when a rescue tells nobody of the runs it buries."""

    @stage.app.workflow(queue="elsewhere")
    async def child(wf: Workflow) -> None: ...

    @stage.app.workflow
    async def parent(wf: Workflow) -> str:
        try:
            await wf.child(child, "c")
        except StepFailed as error:
            return error.kind
        return "nothing"

    def lost() -> None:
        other = workers.register(name="other", host="h", pid=1, slots=1, queues=["elsewhere"])
        worker, incarnation = drive(stage.conn, other)
        queue = drive(stage.conn, ensure(["elsewhere"]))["elsewhere"]
        stage.conn.execute("update perdure.job set rescues = 9 where id = (select job from perdure.run where id = 'c')")
        floor = Floor(tuple(queue * 4096 + priority for priority in range(10)))
        assert drive(stage.conn, claim(worker, incarnation, queue, floor, 1)) is not None
        stage.conn.execute("update perdure.worker set expires_at = now() - interval '1 s' where id = %s", [worker])

    async def play() -> None:
        async with stage.working(queues={"default": 2}):
            await stage.start(parent.run())
            await stage.until_true("select count(*) = 1 from perdure.waiting")
            with stage.conn.transaction():  # at once, so that nobody takes it for dead before it has claimed
                await asyncio.to_thread(lost)
            assert await stage.result() == "WorkflowFailed"
            assert (await stage.get("c")).ended_at is not None

    asyncio.run(play())
