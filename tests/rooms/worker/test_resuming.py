"""Handlers that go on where the last run of their job had come to, wherever that ran and however it ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from perdure.core.endings import Snooze
from perdure.core.errors import InvalidOption, OwnershipLost, PayloadTooLarge, Unserialisable
from tests.rooms.worker import children
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

QUICK = Retry(max_attempts=3, delays=(0, 0), jitter="none")
SAVED = "select job, value::text, generation from perdure.checkpoint order by job"


async def test_a_failed_run_is_gone_on_from_its_checkpoint(stage: Stage) -> None:
    """What a run has saved before it failed is what the next one begins with, and nothing is left of it once the job
    has completed [PAT-1, PAT-3]. Red without the lookup before the handler, or without forget_sides."""
    app, began = App("a"), list[object]()

    @app.task(retry=QUICK)
    async def count(ctx: Context) -> object:
        began.append(ctx.restored)
        if ctx.restored is None:
            await ctx.checkpoint({"at": 7, "name": "seven"})
            raise ConnectionError("once")
        return ctx.restored

    (id,) = await stage.enqueue(count.job())
    async with working(stage.db, app):
        [job] = await stage.until_in("history", id)

    assert began == [None, {"at": 7, "name": "seven"}]
    assert (job.outcome, job.result) == ("completed", {"at": 7, "name": "seven"})
    assert await stage.rows(SAVED) == []


SETTLER_WAITS = (
    "select exists (select from pg_stat_activity where datname = current_database() "
    "and application_name like 'perdure-settle%%' and %s = any(pg_blocking_pids(pid)))"
)


@pytest.mark.parametrize("aside", [False, True], ids=["at once", "after it was put aside"])
async def test_a_job_completes_and_loses_its_checkpoint_in_one_commit(stage: Stage, aside: bool) -> None:
    """While the settlement can't clear the checkpoint, its job hasn't ended for anybody: there is no moment between,
    also for an end that somebody's lock had been in the way of before [PAT-3]. Red when an end with rows in side tables
    is settled statement by statement, or one that was put aside is."""
    app, saved, release = App("a"), asyncio.Event(), asyncio.Event()

    @app.task
    async def work(ctx: Context) -> None:
        await ctx.checkpoint(1)
        saved.set()
        await release.wait()

    (id,) = await stage.enqueue(work.job())
    blocker, holder = stage.db.connect(), stage.db.connect()
    async with working(stage.db, app) as worker:
        await asyncio.wait_for(saved.wait(), BOUND_SECONDS)
        for session, table in ((blocker, "checkpoint"), (holder, "job"))[: 1 + aside]:
            session.execute("begin")
            session.execute(f"select from perdure.{table} for update".encode())
        release.set()
        if aside:
            await until(lambda: worker._settler._blocked)
            holder.execute("rollback")
        await stage.until_true(SETTLER_WAITS, blocker.info.backend_pid)
        ended = await stage.value("select count(*) from perdure.history")
        blocker.execute("rollback")
        await stage.until_in("history", id)

    assert ended == 0
    assert await stage.rows(SAVED) == []


async def test_what_was_reached_is_saved_when_the_handler_fails(stage: Stage) -> None:
    """Between two saves a handler only notes what it has reached; when it fails, or snoozes, that is saved before its
    end is settled, on the loop and in a thread [PAT-5]. Red without the keeping in the runner."""
    app, began = App("a"), list[tuple[str, object]]()

    @app.task(retry=QUICK)
    async def on_loop(ctx: Context) -> None:
        began.append(("loop", ctx.restored))
        await ctx.advance((ctx.restored or 0) + 1)
        if ctx.restored is None:
            raise ConnectionError("once")
        if ctx.restored == 1:
            raise Snooze(0)

    @app.task(retry=QUICK)
    def in_thread(ctx: Context) -> object:
        began.append(("thread", ctx.restored))
        ctx.advance((ctx.restored or 0) + 1)
        if ctx.restored is None:
            raise ConnectionError("once")
        return Snooze(0) if ctx.restored == 1 else None

    ids = await stage.enqueue(on_loop.job(), in_thread.job())
    async with working(stage.db, app):
        await stage.until_all_in("history", ids)

    assert [value for place, value in began if place == "loop"] == [None, 1, 2]
    assert [value for place, value in began if place == "thread"] == [None, 1, 2]
    assert await stage.rows(SAVED) == []


@pytest.mark.usefixtures("grace")
@pytest.mark.parametrize("place", ["loop", "thread"])
async def test_a_drained_handler_saves_and_goes_back_uncharged(stage: Stage, place: str) -> None:
    """A handler that the drain's deadline stops has saved what it had reached before its job is back, no attempt is
    charged, and the next worker goes on there; five times over [KIT-42, PAT-7, PAT-5]. Red when the end is settled
    before the save, or when a stop is charged."""
    app, began, steady = App("a"), list[int](), threading.Event()

    @app.task(retry=Retry(max_attempts=1))
    async def loop(ctx: Context) -> int:
        begin = ctx.restored or 0
        for number in range(begin + 1, begin + 4):
            await ctx.advance(number, every=None, seconds=None)
        began.append(begin)
        if begin < 15:
            await asyncio.Event().wait()
        return begin

    @app.task(retry=Retry(max_attempts=1))
    def thread(ctx: Context) -> int:
        begin = number = ctx.restored or 0
        while number < begin + 3:
            number += 1
            ctx.advance(number, every=None, seconds=None)
        began.append(begin)
        while begin < 15 and not ctx.cancelled:
            steady.wait(0.01)
        ctx.raise_if_cancelled()
        return begin

    (id,) = await stage.enqueue(app.find(place).job())
    for run in range(5):
        async with working(stage.db, app, drain_seconds=0):
            await until(lambda run=run: len(began) == run + 1)  # type: ignore[misc]
        job = await stage.job(id)
        assert (job.place, job.attempt, job.rescues) == ("ready", 0, 0)
        assert await stage.value("select value::text from perdure.checkpoint") == str(3 * (run + 1))
    async with working(stage.db, app):
        [job] = await stage.until_in("history", id)

    assert began == [0, 3, 6, 9, 12, 15]
    assert (job.result, job.attempt) == (15, 1)
    assert await stage.endings(id) == ["returned"] * 5


async def test_items_are_resumed_after_the_last_one_that_was_done(stage: Stage) -> None:
    """A loop over resumable items does none of them twice when its handler fails between two, whether the items come by
    themselves or are waited for [PAT-1, PAT-5]. Red when the position is saved before its item, or resumed at it."""
    app, done = App("a"), dict[str, list[object]](plain=[], awaited=[], thread=[])

    async def slow() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async def work(ctx: Context, items: Any, name: str) -> None:
        async for item in ctx.resumable(items, every=3):
            if item in (4, 8) and not (done[name] and done[name][-1] == "failed"):
                done[name].append("failed")
                raise ConnectionError("at 4 and at 8")
            done[name].append(item)

    @app.task(retry=QUICK)
    async def plain(ctx: Context) -> None:
        await work(ctx, range(10), "plain")

    @app.task(retry=QUICK)
    async def awaited(ctx: Context) -> None:
        await work(ctx, slow(), "awaited")

    @app.task(retry=QUICK)
    def thread(ctx: Context) -> None:
        for item in ctx.resumable(range(10), every=3):
            if item in (4, 8) and not (done["thread"] and done["thread"][-1] == "failed"):
                done["thread"].append("failed")
                raise ConnectionError("at 4 and at 8")
            done["thread"].append(item)

    ids = await stage.enqueue(plain.job(), awaited.job(), thread.job())
    async with working(stage.db, app):
        await stage.until_all_in("history", ids)

    expected = [0, 1, 2, 3, "failed", 4, 5, 6, 7, "failed", 8, 9]
    assert done == {"plain": expected, "awaited": expected, "thread": expected}


async def test_a_plain_loop_over_resumable_items_is_refused_in_an_async_handler(stage: Stage) -> None:
    """On the event loop a ``for`` couldn't wait for its saves, and a refused one would be nobody's error: it is refused
    before the first item, naming ``async for`` [PAT-5]. Red when the items don't ask where they are looped over."""
    app, done = App("a"), list[int]()

    @app.task(retry=Retry(max_attempts=1))
    async def work(ctx: Context) -> None:
        for item in ctx.resumable(range(3)):
            done.append(item)

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        [job] = await stage.until_in("dead", id)

    assert "loop over it with async for" in str(job.error)
    assert done == []


async def test_it_is_saved_by_count_or_by_time_whichever_comes_first(stage: Stage) -> None:
    """With no count the time saves, with no time the count does, and between two saves nothing is written [PAT-5]. Red
    without either half of the condition in ``advance``."""
    app, seen = App("a"), dict[str, list[object]](count=[], time=[], never=[])

    async def saved(id: int) -> object:
        rows = await stage.rows("select value::text from perdure.checkpoint where job = %s", id)
        return rows[0][0] if rows else None

    @app.task
    async def count(ctx: Context) -> None:
        for number in range(1, 6):
            await ctx.advance(number, every=2, seconds=None)
            seen["count"].append(await saved(ctx.job.id))

    @app.task
    async def time(ctx: Context) -> None:
        async def reached() -> object:
            await ctx.advance(1, every=None, seconds=0.05)
            return await saved(ctx.job.id)

        assert await saved(ctx.job.id) is None
        await until(reached)
        seen["time"].append(await saved(ctx.job.id))

    @app.task
    async def never(ctx: Context) -> None:
        for number in range(1, 2_000):
            await ctx.advance(number, every=None, seconds=None)
        seen["never"].append(await saved(ctx.job.id))

    ids = await stage.enqueue(count.job(), time.job(), never.job())
    async with working(stage.db, app):
        await stage.until_all_in("history", ids)

    assert seen == {"count": [None, "2", "2", "4", "4"], "time": ["1"], "never": [None]}


async def test_a_job_that_advances_outlives_any_number_of_failures(stage: Stage) -> None:
    """Ten failures with three attempts allowed: each run that has saved something new counts as the first, so the job
    completes; one that stands still is dead after three, with its checkpoint for a redrive [PAT-7]. Red without the
    resetting of the attempt."""
    app = App("a")

    @app.task(retry=Retry(max_attempts=3, base=0.01, cap=0.01))
    async def advance(ctx: Context) -> int:
        number = (ctx.restored or 0) + 1
        await ctx.checkpoint(number)
        if number < 10:
            raise ConnectionError("again")
        return number

    @app.task(retry=Retry(max_attempts=3, base=0.01, cap=0.01))
    async def stand(ctx: Context) -> None:
        await ctx.checkpoint(4)
        raise ConnectionError("still at 4")

    moving, standing = await stage.enqueue(advance.job(), stand.job())
    async with working(stage.db, app):
        [moved] = await stage.until_in("history", moving)
        [stood] = await stage.until_in("dead", standing)

    assert (moved.result, moved.attempt) == (10, 1)
    assert stood.reason == "exhausted"
    assert await stage.endings(standing) == ["retry", "retry", "dead"]
    assert await stage.value("select value::text from perdure.checkpoint") == "4"


async def test_a_checkpoint_of_another_version_is_upgraded_or_parks_its_job(stage: Stage) -> None:
    """After a deployment that saves another form, an upgrade makes the new form of the old; without one the job is
    parked for a worker that can go on from it, never begun from nought [PAT-6]. Red when a version that doesn't fit
    counts as no checkpoint."""
    began: list[tuple[str, object]] = []

    def made(version: int, name: str, *, upgrades: bool = False) -> App:
        app = App("a")

        @app.task(name="work", checkpoint_version=version, retry=QUICK)
        async def work(ctx: Context) -> None:
            began.append((name, ctx.restored))
            if ctx.restored is None:
                await ctx.checkpoint(41)
                await asyncio.Event().wait()

        if upgrades:
            work.upgrade_checkpoint(1)(lambda state: {"at": state})
            work.upgrade_checkpoint(2)(lambda state: {"from": state["at"] + 1})
        return app

    old, new = made(1, "old"), made(3, "new", upgrades=True)
    (id,) = await stage.enqueue(old.find("work").job())
    async with working(stage.db, old, drain_seconds=0):
        await stage.until_true("select exists (select from perdure.checkpoint)")
    async with working(stage.db, made(2, "hookless")):
        [parked] = await stage.until_in("held", id)
    async with working(stage.db, new):
        await stage.until_in("history", id)

    assert parked.reason == "checkpoint_version"
    assert began[-1] == ("new", {"from": 42})
    assert [name for name, _ in began] == ["old", "new"]


async def test_a_child_process_saves_and_goes_on(stage: Stage) -> None:
    """A handler in a child process saves durably and is given what was saved, and its progress counts, too [PAT-1,
    PAT-7]. Red when the parent judges its failure by the attempts before."""
    app = children.app
    (id,) = await stage.enqueue(children.count_up.job(6))
    async with working(stage.db, app):
        [job] = await stage.until_in("history", id)

    assert job.result == 6
    assert await stage.rows(SAVED) == []


async def test_a_checkpoint_that_cant_be_kept_is_refused_by_name(stage: Stage) -> None:
    """What isn't data, or is too large, is refused where it is given, and the last good checkpoint stands."""
    app, refused = App("a"), list[str]()

    @app.task
    async def work(ctx: Context) -> None:
        await ctx.checkpoint(1)
        for value, kind in ((asyncio.Event(), Unserialisable), ("x" * 300_000, PayloadTooLarge)):
            with pytest.raises(kind) as error:
                await ctx.checkpoint(value)
            refused.append(str(error.value))
        with pytest.raises(Unserialisable):
            await ctx.advance(asyncio.Event())
        with pytest.raises(InvalidOption, match="used twice"):
            [ctx.resumable([1]), ctx.resumable([1])]
        with pytest.raises(InvalidOption, match=r"progress.n: nan is no number"):
            ctx.progress(float("nan"))

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        await stage.until_in("history", id)

    assert refused[0].startswith("checkpoint: a value of type Event can't be kept as JSON")
    assert refused[1].startswith("checkpoint: the encoded value has 300,002 bytes, the limit is 262,144")


async def test_a_handler_whose_job_was_taken_away_hears_so_when_it_saves(stage: Stage) -> None:
    """The save of a run whose job has been given to somebody else raises OwnershipLost in the handler, and changes
    nothing [PAT-2]."""
    app, heard = App("a"), list[BaseException]()
    begun, go = asyncio.Event(), asyncio.Event()

    @app.task
    async def work(ctx: Context) -> None:
        await ctx.checkpoint(1)
        begun.set()
        await go.wait()
        try:
            await ctx.checkpoint(2)
        except OwnershipLost as error:
            heard.append(error)
            raise

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app) as worker:
        await asyncio.wait_for(begun.wait(), BOUND_SECONDS)
        await stage.rows("update perdure.job set generation = generation + 1 returning id")
        go.set()
        await until(lambda: worker._settler.counts["stale"] == 1)

    (error,) = heard
    assert str(error).startswith(f"job {id}: was claimed as generation 0 and is generation 1 now; nothing was written")
    assert await stage.rows(SAVED) == [(id, "1", 0)]
