"""Jobs that end before their handler does: cancelled, timed out, expired."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from perdure.core.endings import Snooze
from perdure.jobs.loops import minder
from perdure.jobs.loops.runner import Runner
from tests.rooms.worker import children
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

ONCE = Retry(max_attempts=1)


async def test_a_queued_job_that_is_cancelled_is_never_started(stage: Stage) -> None:
    """A job cancelled while it waits ends as cancelled, with the reason; a worker that comes later runs its mate."""
    app, runs = App("a"), []

    @app.task
    async def work(number: int) -> None:
        runs.append(number)

    cancelled, kept = await stage.enqueue(work.job(1), work.job(2))
    answer = await stage.cancel(cancelled, "not wanted")
    async with working(stage.db, app):
        await stage.until_in("history", kept)
    job = await stage.job(cancelled)

    assert answer == "cancelled"
    assert (job.outcome, job.error, job.attempt) == ("cancelled", "not wanted", 0)
    assert runs == [2]


async def test_a_running_job_is_stopped_by_a_cancel(stage: Stage) -> None:
    """A cancel of a running job cancels its handler within a beat, and the job ends as cancelled; nothing of the
    request is left. Red when the beat doesn't bring the request, or the runner doesn't stop the slot."""
    app, running, stopped = App("a"), asyncio.Event(), asyncio.Event()

    @app.task
    async def work() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        await asyncio.wait_for(running.wait(), BOUND_SECONDS)
        answer = await stage.cancel(id)
        (job,) = await stage.until_in("history", id)
        await stage.until_true("select not exists (select from perdure.cancel_request)")

    assert answer == "requested"
    assert stopped.is_set()
    assert (job.outcome, job.attempt) == ("cancelled", 1)


async def test_what_a_cancelled_handler_raises_is_no_failure(stage: Stage) -> None:
    """A cancelled handler that turns its cancellation into another error ends as cancelled, and isn't tried again. Red
    when its error is judged as a failure."""
    app, running = App("a"), asyncio.Event()

    @app.task
    async def work() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("the pool was closed") from None

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        await asyncio.wait_for(running.wait(), BOUND_SECONDS)
        await stage.cancel(id)
        (job,) = await stage.until_in("history", id)

    assert (job.outcome, job.error) == ("cancelled", "cancelled while it ran")


async def test_why_a_running_job_was_cancelled_is_kept(stage: Stage) -> None:
    """The reason given with the request stands with the job that it ended. Red when finish.sql doesn't read it."""
    app, running = App("a"), asyncio.Event()

    @app.task
    async def work() -> None:
        running.set()
        await asyncio.Event().wait()

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        await asyncio.wait_for(running.wait(), BOUND_SECONDS)
        await stage.cancel(id, "paid twice")
        (job,) = await stage.until_in("history", id)

    assert (job.outcome, job.error) == ("cancelled", "paid twice")


async def test_a_thread_is_told_of_a_cancel_and_its_late_result_is_dropped(stage: Stage) -> None:
    """A cancelled sync job ends as cancelled at once, its handler sees ``ctx.cancelled``, and what it returns
    afterwards changes nothing: one end, settled once."""
    app, running, told, go = App("a"), threading.Event(), [], threading.Event()

    @app.task
    def work(ctx: Context) -> str:
        running.set()
        while not ctx.cancelled and not go.wait(0.01):
            pass
        told.append(ctx.cancelled)
        go.wait(BOUND_SECONDS)
        return "late"

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app) as worker:
        await asyncio.to_thread(running.wait, BOUND_SECONDS)
        await stage.cancel(id)
        (job,) = await stage.until_in("history", id)
        taken = worker.gauges()["queues"]["default"]
        go.set()
        await until(lambda: worker.gauges()["queues"]["default"]["busy"] == 0)

    assert (job.outcome, job.result) == ("cancelled", None)
    assert told == [True]
    assert worker.gauges()["settled"] == {"cancelled": 1}
    assert (taken["busy"], taken["lost"]) == (1, 1)  # the thread still runs, and its slot stays taken
    assert worker.gauges()["queues"]["default"]["lost"] == 0
    assert (await stage.job(id)).result is None


async def test_a_cancel_beats_a_snooze(stage: Stage) -> None:
    """A job that was asked to stop and snoozes instead isn't run again: the request is honoured where it stands."""
    app, running = App("a"), asyncio.Event()

    @app.task
    async def work() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Snooze(for_=3_600) from None

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        await asyncio.wait_for(running.wait(), BOUND_SECONDS)
        await stage.cancel(id)
        (job,) = await stage.until_in("history", id)

    assert job.outcome == "cancelled"
    assert await stage.value("select count(*) from perdure.scheduled") == 0


async def test_an_async_handler_that_overruns_is_a_failed_attempt(stage: Stage) -> None:
    """A handler on the loop that runs past its timeout is cancelled, and its attempt fails with the time in the error;
    the job's own timeout replaces its task's [DW-106]. Red without the sweeper of deadlines."""
    app, stopped = App("a"), []

    @app.task(retry=ONCE, timeout=3_600)
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(1)

    (id,) = await stage.enqueue(work.job().options(timeout=0.2))
    async with working(stage.db, app):
        (job,) = await stage.until_in("dead", id)

    assert stopped == [1]
    assert (job.reason, job.attempt) == ("exhausted", 1)
    assert "TimeoutError: still running after" in str(job.error)


async def test_a_swallowed_timeout_is_told_again(stage: Stage) -> None:
    """A handler that swallows its first cancellations, as a loop around ``except BaseException`` does, is stopped all
    the same: it is told again until it ends [KIT-45]. Red when a slot is told once only: then the job runs for ever."""
    app = App("a")
    swallowed: list[int] = []

    @app.task(retry=ONCE, timeout=0.1)
    async def stubborn() -> None:
        while len(swallowed) < 2:
            with contextlib.suppress(asyncio.CancelledError):
                try:
                    await asyncio.Event().wait()
                finally:
                    swallowed.append(1)
        await asyncio.Event().wait()

    @app.task
    async def next_one() -> None: ...

    id, after = await stage.enqueue(stubborn.job(), next_one.job())
    async with working(stage.db, app, queues={"default": 1}):
        (job,) = await stage.until_in("dead", id)
        await stage.until_in("history", after)

    assert len(swallowed) == 2
    assert "TimeoutError: still running after" in str(job.error)


async def test_a_handler_that_has_ended_is_not_told_to_while_it_is_saved(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a handler had reached when its timeout stopped it is saved however long that takes, here while somebody has
    its job locked [PAT-5]. Red when a slot is told to stop again after its handler has ended: that ends the save."""
    monkeypatch.setattr(Runner, "STOP_AGAIN_SECONDS", 0.0)
    app, reached = App("a"), asyncio.Event()

    @app.task(retry=ONCE, timeout=3_600)
    async def work(ctx: Context) -> None:
        await ctx.advance(7)
        reached.set()
        await asyncio.Event().wait()

    (id,) = await stage.enqueue(work.job())
    blocker = stage.db.connect()
    async with working(stage.db, app, queues={"default": 1}) as worker:
        await asyncio.wait_for(reached.wait(), BOUND_SECONDS)
        blocker.execute("begin")
        blocker.execute("select from perdure.job for update")
        (slot,), swept, sweep = worker._runners[0].slots, list[int](), worker._runners[0].sweep_deadlines

        def counted() -> None:
            sweep()
            swept.append(1)

        monkeypatch.setattr(worker._runners[0], "sweep_deadlines", counted)
        slot.deadline = 0.0
        await until(lambda: worker._books.keeper._saves._aside)
        before = len(swept)
        await until(lambda: len(swept) >= before + 3)
        blocker.execute("rollback")
        [job] = await stage.until_in("dead", id)

    assert "TimeoutError" in str(job.error)
    assert await stage.rows("select job, value::text from perdure.checkpoint") == [(id, "7")]


async def test_a_thread_that_overruns_fails_and_its_late_result_is_dropped(stage: Stage) -> None:
    """A sync handler that runs past its timeout has failed, although its thread can't be stopped; when it returns, the
    slot is free again and its result is dropped."""
    app, go = App("a"), threading.Event()

    @app.task(retry=ONCE, timeout=0.2)
    def slow() -> str:
        go.wait(BOUND_SECONDS)
        return "late"

    @app.task
    def quick() -> str:
        return "quick"

    (id,) = await stage.enqueue(slow.job())
    async with working(stage.db, app, queues={"default": 1}):
        (job,) = await stage.until_in("dead", id)
        (behind,) = await stage.enqueue(quick.job())
        go.set()
        (after,) = await stage.until_in("history", behind)

    assert "TimeoutError" in str(job.error)
    assert after.result == "quick"
    assert (await stage.job(id)).place == "dead"


async def test_a_child_that_overruns_is_killed(stage: Stage, tmp_path: Path) -> None:
    """A process handler that runs past its timeout has failed, and its child is gone; the next one gets a new child
    [KIT-45]. Red when the call in the child isn't cancelled with its slot."""
    told = tmp_path / "pid"
    (id,) = await stage.enqueue(children.never_ends.job(str(told)).options(timeout=3_600))
    async with working(stage.db, children.app, queues={"default": 1}) as worker:
        await until(lambda: told.exists() and told.read_text() != "")
        pid, (slot,) = int(told.read_text()), worker._runners[0].slots
        assert slot.deadline is not None
        slot.deadline -= 3_600
        (job,) = await stage.until_in("dead", id)
        await until(lambda: _gone(pid))
        (after,) = await stage.enqueue(children.whose_process.job())
        (next_one,) = await stage.until_in("history", after)

    assert "TimeoutError" in str(job.error)
    assert next_one.result != pid


async def test_waiting_for_a_child_is_not_running(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Process jobs that wait for one of the few children don't use up their timeout: one that has waited for longer
    than that has all of it when its turn comes [KIT-32]. Red when the deadline is counted from the slot, before the
    child's turn."""
    monkeypatch.setattr(minder, "cores", lambda: 1)
    told = tmp_path / "pid"
    await stage.enqueue(children.stays.job(str(told)))
    async with working(stage.db, children.app, queues={"default": 4}) as worker:
        await until(lambda: told.exists() and told.read_text() != "")
        ids = await stage.enqueue(*[children.whose_process.job().options(timeout=600) for _ in range(3)])
        slots = worker._runners[0].slots
        await until(lambda: sum(slot.queued is not None for slot in slots) == 3)
        for slot in slots:  # an hour goes by
            slot.deadline = None if slot.deadline is None else slot.deadline - 3_600
        worker._runners[0].sweep_deadlines()
        os.kill(int(told.read_text()), signal.SIGKILL)
        jobs = await stage.until_in("history", *ids)

    assert [(job.outcome, job.attempt) for job in jobs] == [("completed", 1)] * 3


async def test_a_job_too_old_is_not_started(stage: Stage) -> None:
    """A job that has expired before a worker comes ends as expired, with no attempt, and its handler isn't called."""
    app, runs = App("a"), []

    @app.task
    async def work(number: int) -> None:
        runs.append(number)

    old, fresh = await stage.enqueue(work.job(1).options(expires=0.05), work.job(2).options(expires=3_600))
    await stage.until_true("select expires_at < clock_timestamp() from perdure.job where id = %s", old)
    async with working(stage.db, app):
        expired, done = await stage.until_in("history", old, fresh)

    assert (expired.outcome, expired.attempt) == ("expired", 0)
    assert done.outcome == "completed"
    assert runs == [2]


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
