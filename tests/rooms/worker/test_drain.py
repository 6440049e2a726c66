"""Graceful drain: what a worker does between being told to stop and having left."""

from __future__ import annotations

import asyncio
import functools
import threading
import time

import pytest

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.app.worker import Worker
from perdure.core import limits
from perdure.core.backoff import Retry
from perdure.fleet.loops.heart import Heart
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, claim_everything, until, working

HOUR = 3_600.0


def _app() -> tuple[App, list[int], asyncio.Event]:
    """An app whose jobs each wait until the event; the list has the numbers that were started."""
    app, started, go = App("a"), [], asyncio.Event()

    @app.task
    async def work(number: int) -> int:
        started.append(number)
        await go.wait()
        return number

    return app, started, go


def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing stir a worker but what happens to it: it doesn't beat, nor look for anything within the hour."""
    for name in ("RESCUE_CHECK_SECONDS", "POLL_IDLE_SECONDS", "DEAD_SECONDS"):
        monkeypatch.setattr(limits, name, HOUR)
    monkeypatch.setattr(Heart, "start", lambda self, worker, sent: setattr(self, "trusted_until", float("inf")))


async def test_a_draining_worker_gives_back_what_it_has_not_started(stage: Stage) -> None:
    """Told to stop, a worker claims nothing more and gives its unstarted jobs back at once and without an attempt,
    while what runs goes on [DW-108, DW-110, KIT-42]. Red without the give-back of the drain."""
    app, started, go = _app()
    ids = await stage.enqueue(*[app.find("work").job(number) for number in range(20)])
    async with working(stage.db, app, queues={"default": 3}) as worker:
        await until(lambda: len(started) == 3)
        await claim_everything(worker, stage)
        (later,) = await stage.enqueue(app.find("work").job(99))
        worker.stop()
        await stage.until_all_in("ready", [*ids[3:], later])
        leased = await stage.rows("select id, attempt from perdure.jobs where place = 'leased' order by id")
        go.set()
    back = await stage.rows("select id, attempt, rescues from perdure.jobs where place = 'ready' order by id")

    assert leased == [(id, 1) for id in ids[:3]]
    assert started == [0, 1, 2]
    assert back == [(id, 0, 0) for id in [*ids[3:], later]]
    assert await stage.endings(ids[3]) == ["returned"]
    assert await stage.counts() == {"ready": 18, "history": 3}


async def test_a_stop_in_the_middle_of_a_look_is_heard(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to stop while it looks for work, a worker doesn't rest until its next poll [DW-108]. Red when a rest begins
    without asking whether the worker stops: nothing stirs it then, no beat and no look."""
    app, _, _ = _app()
    _still(monkeypatch)
    async with working(stage.db, app) as worker:
        claimer = worker._claimer
        await until(lambda: claimer.asleep and claimer._next_poll() > claimer._looked_at + HOUR / 2)
        upkeep = claimer._upkeep

        async def told() -> None:
            await upkeep()
            claimer._stopping = True
            claimer._stir.set()

        monkeypatch.setattr(claimer, "_upkeep", told)
        claimer.notified("")
        await asyncio.wait_for(claimer._stopped.wait(), BOUND_SECONDS / 2)


async def test_a_drained_worker_leaves_nothing_behind(stage: Stage) -> None:
    """What ran has finished, every end is committed, no lease is left, the worker's row says it has left, and nobody
    had to rescue anything [DW-109, DW-111, KIT-41]. Red when the drain doesn't wait for the settler."""
    app, started, go = _app()
    ids = await stage.enqueue(*[app.find("work").job(number) for number in range(3)])
    async with working(stage.db, app) as worker:
        await until(lambda: len(started) == 3)
        worker.stop()
        await stage.until_true("select state = 'draining' from perdure.worker")
        go.set()

    assert await stage.rows("select state, ended_at is not null from perdure.worker") == [("left", True)]
    assert await stage.value("select count(*) from perdure.lease") == 0
    assert await stage.rows("select id, attempt, rescues from perdure.history order by id") == [
        (id, 1, 0) for id in ids
    ]
    assert await stage.value("select count(*) from perdure.attempt") == 0


async def test_a_draining_worker_still_beats_until_its_last_handler_ends(stage: Stage) -> None:
    """While it finishes, a draining worker's row says so and its lease is renewed; another worker takes nothing of it
    [KIT-43, DW-109]. Red when the heart stops before the handlers."""
    app, started, go = _app()
    (id,) = await stage.enqueue(app.find("work").job(1))
    async with working(stage.db, app) as worker:
        await until(lambda: started == [1])
        worker.stop()
        await stage.until_true("select state = 'draining' from perdure.worker")
        then = await stage.value("select expires_at from perdure.worker")
        async with working(stage.db, App("other")) as other:
            renewed = "select expires_at > %s + interval '2.5 s' from perdure.worker where id = %s"
            await stage.until_true(renewed, then, worker.id)
            alive = await stage.rows("select state from perdure.worker order by id")
            other.stop()
        go.set()

    assert alive == [("draining",), ("alive",)]
    (job,) = await stage.until_in("history", id)
    assert (job.attempt, job.rescues) == (1, 0)


async def test_at_the_deadline_running_jobs_go_back_without_an_attempt(stage: Stage) -> None:
    """A handler that still runs at the drain's deadline is cancelled, its job goes back with the reason and without an
    attempt, ready at once, and the worker says that it wasn't clean [KIT-41, KIT-42]."""
    app, started, _ = _app()
    (id,) = await stage.enqueue(app.find("work").job(1))
    worker = Worker(app, stage.db.url, drain_seconds=0.1)
    running = asyncio.create_task(worker.run())
    await until(lambda: started == [1])
    worker.stop()
    clean = await asyncio.wait_for(running, BOUND_SECONDS)
    job, (attempt,) = await stage.job(id), await stage.attempts(id)

    assert not clean
    assert (job.place, job.attempt, job.rescues) == ("ready", 0, 0)
    assert (attempt.ending, attempt.error) == ("returned", "drained")


async def test_a_handler_that_ignores_its_end_holds_nothing_up(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Handlers that ignore being stopped, on the loop and in a thread, are left behind, by name: the worker leaves in
    time, their jobs go back, and the end that each reports afterwards is dropped [KIT-45]. Red without ``abandon``."""
    app, started, go = App("a"), [], threading.Event()

    @app.task
    async def stubborn() -> str:
        started.append("loop")
        while not go.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return "late"

    @app.task
    def stubborn_thread() -> str:
        started.append("thread")
        go.wait(BOUND_SECONDS)
        return "late"

    ids = await stage.enqueue(stubborn.job(), stubborn_thread.job())
    worker = Worker(app, stage.db.url, drain_seconds=0.1)
    running = asyncio.create_task(worker.run())
    await until(lambda: len(started) == 2)
    worker.stop()
    clean = await asyncio.wait_for(running, BOUND_SECONDS)
    places = [(await stage.job(id)).place for id in ids]
    go.set()
    await until(lambda: all(slot.task is None or slot.task.done() for slot in worker._runners[0].slots))

    assert not clean
    assert {f"job {ids[0]} (stubborn) didn't stop", f"job {ids[1]} (stubborn_thread) didn't stop"} <= {
        record.getMessage().partition(";")[0] for record in caplog.records
    }
    assert places == ["ready", "ready"]
    assert [(await stage.job(id)).place for id in ids] == ["ready", "ready"]
    assert await stage.value("select count(*) from perdure.history") == 0


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_what_a_stopped_handler_raises_is_not_held_against_it(stage: Stage, kind: str) -> None:
    """A handler that answers the drain's stop with an error of its own, as a pool or an HTTP client does, goes back
    without an attempt, although its policy allows none more [KIT-42]. Red when its error is judged as a failure."""
    app, started = App("a"), threading.Event()

    @app.task(retry=Retry(max_attempts=1))
    async def loop() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("the pool was closed") from None

    @app.task(retry=Retry(max_attempts=1))
    def thread(ctx: Context) -> None:
        started.set()
        while True:
            ctx.raise_if_cancelled()
            time.sleep(0.001)

    (id,) = await stage.enqueue(app.find(kind).spec("{}"))
    worker = Worker(app, stage.db.url, drain_seconds=0.1)
    running = asyncio.create_task(worker.run())
    await until(started.is_set)
    worker.stop()
    await asyncio.wait_for(running, BOUND_SECONDS)
    job, (attempt,) = await stage.job(id), await stage.attempts(id)

    assert (job.place, job.attempt) == ("ready", 0)
    assert (attempt.ending, attempt.error) == ("returned", "drained")


@pytest.mark.parametrize("kind", ["declared", "said", "abandoned"])
async def test_work_that_must_not_run_twice_is_not_given_back_once_begun(stage: Stage, kind: str) -> None:
    """A started ``at_most_once`` job that the drain stops, or leaves behind, is dead with ``needs_review`` and not run
    by the next worker; its unstarted mate is [KIT-25]. Red when a stopped job is given back whatever it is."""
    app, started, go = App("a"), [], threading.Event()

    @app.task(at_most_once=kind != "said")
    async def charge(number: int) -> None:
        started.append(number)
        await asyncio.Event().wait()

    @app.task(name="charge_in_a_thread", at_most_once=True)
    def charge_in_a_thread(number: int) -> None:
        started.append(number)
        go.wait(BOUND_SECONDS)

    task = charge_in_a_thread if kind == "abandoned" else charge
    jobs = [task.job(number).options(at_most_once=True) for number in range(2)]
    begun, mate = await stage.enqueue(*jobs)
    worker = Worker(app, stage.db.url, queues={"default": 1}, drain_seconds=0.1)
    running = asyncio.create_task(worker.run())
    await until(lambda: started == [0])
    worker.stop()
    await asyncio.wait_for(running, BOUND_SECONDS)
    go.set()
    found = [(job.place, job.reason) for job in (await stage.job(begun), await stage.job(mate))]

    assert found == [("dead", "needs_review"), ("ready", None)]
    assert "stopped while it ran" in str((await stage.job(begun)).error)
    assert started == [0]


async def test_a_second_stop_means_now(stage: Stage) -> None:
    """A second stop doesn't wait for the deadline: what runs is stopped and goes back [KIT-41]. Red when a second call
    does nothing: the deadline here is an hour."""
    app, started, _ = _app()
    (id,) = await stage.enqueue(app.find("work").job(1))
    worker = Worker(app, stage.db.url, drain_seconds=HOUR)
    running = asyncio.create_task(worker.run())
    await until(lambda: started == [1])
    worker.stop()
    await stage.until_true("select state = 'draining' from perdure.worker")
    worker.stop()
    clean = await asyncio.wait_for(running, BOUND_SECONDS)

    assert not clean
    assert (await stage.job(id)).place == "ready"


async def test_a_full_worker_stops_as_promptly_as_an_idle_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose slots and backlog are full, so that its claimer waits for room, hears a stop at once: what it
    holds unstarted is ready again before anything it runs has ended [KIT-33]. Red when a stop doesn't stir the claimer:
    nothing else does here, no beat and no look."""
    _still(monkeypatch)
    app, started, go = _app()
    ids = await stage.enqueue(*[app.find("work").job(number) for number in range(500)])
    async with working(stage.db, app, queues={"default": 2}, drain_seconds=HOUR) as worker:
        await until(lambda: len(started) == 2)
        await claim_everything(worker, stage)
        await until(lambda: not worker._intakes[0].floor.open)
        loop = asyncio.get_running_loop()
        began = loop.time()
        worker.stop()
        await stage.until_all_in("ready", ids[2:])
        print(f"a full worker gave back 498 jobs {(loop.time() - began) * 1000:.0f} ms after its stop")
        assert len(started) == 2
        go.set()


async def test_five_rolling_restarts_cost_no_attempt(stage: Stage) -> None:
    """A long job that meets five deploys is picked up by each next worker at once, uncharged, and completes in its
    first attempt; no lease ever expired [KIT-42, DW-110, DW-111]. Red when a drained job is charged."""
    app, started, go = App("a"), [], asyncio.Event()

    @app.task
    async def long() -> str:
        started.append(1)
        await go.wait()
        return "done"

    (id,) = await stage.enqueue(long.job())
    for deploy in range(1, 6):
        async with working(stage.db, app, drain_seconds=0.0):
            await until(functools.partial(_are, started, deploy))
    go.set()
    async with working(stage.db, app):
        (job,) = await stage.until_in("history", id)

    assert (job.attempt, job.rescues, job.generation) == (1, 0, 5)
    assert await stage.endings(id) == ["returned"] * 5
    assert await stage.rows("select distinct state from perdure.worker") == [("left",)]


def _are(started: list[int], deploy: int) -> bool:
    return len(started) == deploy


async def test_a_worker_that_never_reached_its_server_can_be_stopped(stage: Stage) -> None:
    """A worker that still waits for a server leaves when it is told to [KIT-41]. Red when the wait can't be stopped."""
    worker = Worker(App("a"), "postgresql://postgres@127.0.0.1:1/nowhere")
    running = asyncio.create_task(worker.run())
    done, _ = await asyncio.wait({running}, timeout=0.5)
    worker.stop()

    assert done == set()
    assert await asyncio.wait_for(running, BOUND_SECONDS) is True


@pytest.mark.parametrize("moment", ["before", "during"])
async def test_a_drain_with_the_server_gone_still_ends(
    stage: Stage, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop is obeyed although the claimer is finding out, from a server that doesn't answer, what it holds."""
    app, started, _ = _app()
    await stage.enqueue(app.find("work").job(1))
    worker = Worker(app, stage.db.url, drain_seconds=0.1)
    running = asyncio.create_task(worker.run())
    await until(lambda: started == [1])
    nowhere = "postgresql://postgres@127.0.0.1:1/nowhere"
    if moment == "during":
        worker.stop()
    for link in worker._links.values():
        link._url = nowhere
        if link._conn is not None:
            link._conn.terminate()
    worker.stop()
    clean = await asyncio.wait_for(running, BOUND_SECONDS)

    assert not clean
