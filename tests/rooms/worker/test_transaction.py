"""``ctx.transaction()``: what a handler writes and the end of its job are one commit, or nothing at all."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from perdure import App, Context, Retry, Snooze
from perdure.app.open import AsyncOpen
from perdure.core.errors import ConnectionLost, OwnershipLost, Unsupported
from tests.rooms.worker import children
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

AT_ONCE = Retry(max_attempts=3, delays=(0.0, 0.0), jitter="none")
EFFECT = "insert into effect (job) values (%s)"


@pytest.fixture
def effects(stage: Stage) -> Stage:
    """A table of the application's own, in which a job leaves a row each time it takes effect."""
    stage.conn.execute("create table effect (job bigint not null)")
    return stage


def doubling(app: App, seen: list[int]) -> Any:
    """A task that takes effect, and fails the first time after that."""

    @app.task(retry=AT_ONCE)
    async def work(ctx: Context) -> str:
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [ctx.job.id])
        seen.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("after the effect")
        return "done"

    return work


async def clean(stage: Stage) -> None:
    """Wait until no handler's session is in a transaction."""
    busy = "select from pg_stat_activity where application_name = 'perdure-handler' and state <> 'idle'"
    await stage.until_true(f"select not exists ({busy} and datname = current_database())")


@pytest.mark.parametrize("kind", ["loop", "thread", "process", "async process"])
async def test_the_effect_and_the_end_of_the_job_are_one_commit(effects: Stage, kind: str) -> None:
    """The row that a handler writes in ``ctx.transaction()``, and its job's row in history with the result, come from
    one transaction, wherever the handler runs. Red when the end is settled outside of it."""
    app = App("a")

    @app.task
    async def awaits(ctx: Context) -> str:
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [ctx.job.id])
        return "done"

    @app.task
    def blocks(ctx: Context) -> str:
        with ctx.transaction() as tx:
            tx.connection.execute(EFFECT, [ctx.job.id])
        return "done"

    for task in (children.takes_effect, children.takes_effect_async):
        app._add(task)
    jobs = {
        "loop": awaits.job(),
        "thread": blocks.job(),
        "process": children.takes_effect.job(),
        "async process": children.takes_effect_async.job(),
    }
    (id,) = await effects.enqueue(jobs[kind])
    async with working(effects.db, app) as worker:
        (job,) = await effects.until_in("history", id)
        await until(lambda: worker.gauges()["settled"].get("completed") == 1)
        await effects.until_true("select not exists (select from perdure.lease)")

    one = "select e.xmin = h.xmin from effect e join perdure.history h on h.id = e.job where e.job = %s"
    assert await effects.rows(one, id) == [(True,)]
    assert (job.outcome, job.result, job.attempt) == ("completed", "done", 1)
    assert worker.gauges()["settled"].get("stale", 0) == 0


async def test_a_handler_that_fails_after_its_block_has_done_nothing(effects: Stage) -> None:
    """A handler that raises after its block is run again, and leaves one effect, not two. Red when the block commits
    at its end."""
    app, seen = App("a"), list[int]()
    (id,) = await effects.enqueue(doubling(app, seen).job())
    async with working(effects.db, app):
        (job,) = await effects.until_in("history", id)

    assert seen == [1, 2]
    assert (job.result, job.attempt) == ("done", 2)
    assert await effects.value("select count(*) from effect") == 1


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_a_handlers_transaction_ends_with_its_job(effects: Stage, kind: str) -> None:
    """What still holds the transaction of a handler when its job has ended is refused, and writes nothing. Red when it
    isn't let go of before it commits."""
    app, kept = App("a"), list[Any]()
    uses: list[Callable[[Any], Any]] = [
        lambda tx: tx.jobs.enqueue(blocks.job()),
        lambda tx: tx.once("late"),
        lambda tx: tx.connection,
    ]

    @app.task
    async def awaits(ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [ctx.job.id])
        kept.append(tx)
        await tx.jobs.enqueue(blocks.job(), delay=600)  # the transaction is still open

    @app.task
    def blocks(ctx: Context) -> None:
        with ctx.transaction() as tx:
            tx.connection.execute(EFFECT, [ctx.job.id])
        kept.append(tx)
        tx.jobs.enqueue(awaits.job(), delay=600)

    (id,) = await effects.enqueue((awaits if kind == "loop" else blocks).job())
    async with working(effects.db, app):
        await effects.until_in("history", id)
        for use in uses:
            with pytest.raises(Unsupported, match="has ended"):
                await use(kept[0])

    assert await effects.value("select count(*) from effect") == 1
    assert await effects.value("select count(*) from perdure.job") == 1


async def test_only_what_completes_is_committed(effects: Stage) -> None:
    """A handler that asks to run later has written nothing, whether it returns or raises that."""
    app = App("a")

    @app.task
    async def later(ctx: Context, raises: bool) -> Snooze:
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [ctx.job.id])
        if raises:
            raise Snooze(for_=600)
        return Snooze(for_=600)

    ids = await effects.enqueue(later.job(True), later.job(False))
    async with working(effects.db, app):
        await effects.until_in("scheduled", *ids)
        await clean(effects)

    assert await effects.value("select count(*) from effect") == 0


async def test_a_second_block_goes_on_in_the_same_transaction(effects: Stage) -> None:
    """Nothing of two blocks is there before their handler has returned, then all is; an error that a handler catches
    around a block undoes that block alone; what ``ctx.enqueue`` writes goes with them. Red when each block has a
    transaction of its own."""
    app, written, go = App("a"), asyncio.Event(), asyncio.Event()

    @app.task
    async def work(ctx: Context) -> int:
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [1])
        with contextlib.suppress(ValueError):
            async with ctx.transaction() as tx:
                await tx.connection.execute(EFFECT, [2])
                raise ValueError("not this one")
        enqueued: int = (await ctx.enqueue(children.whose_process.job(), delay=600)).id
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [3])
        written.set()
        await go.wait()
        return enqueued

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app):
        await asyncio.wait_for(written.wait(), BOUND_SECONDS)
        before = await effects.rows("select (select count(*) from effect), (select count(*) from perdure.scheduled)")
        go.set()
        (job,) = await effects.until_in("history", id)

    assert before == [(0, 0)]
    assert await effects.value("select array_agg(job order by job) from effect") == [1, 3]
    assert (await effects.job(job.result)).place == "scheduled"


async def test_a_handler_that_lost_its_job_is_told_and_writes_nothing(effects: Stage) -> None:
    """Entered with a generation that is not the job's any more, a block raises OwnershipLost and its handler's end is
    refused [DW-41, DW-107]. Red when the block doesn't ask for the generation."""
    app, told, running, go = App("a"), list[BaseException](), asyncio.Event(), asyncio.Event()

    @app.task(retry=AT_ONCE)
    async def work(ctx: Context) -> None:
        running.set()
        await go.wait()
        try:
            async with ctx.transaction() as tx:
                await tx.connection.execute(EFFECT, [ctx.job.id])
        except OwnershipLost as error:
            told.append(error)
            raise

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app) as worker:
        await asyncio.wait_for(running.wait(), BOUND_SECONDS)
        # As whoever takes a job out of a lease does.
        await effects.rows("update perdure.job set generation = generation + 1 where id = %s returning id", id)
        go.set()
        await until(lambda: worker.gauges()["settled"].get("stale") == 1)

    assert [type(error) for error in told] == [OwnershipLost]
    assert "isn't at generation 0 any more" in str(told[0])
    assert await effects.value("select count(*) from effect") == 0
    assert await effects.value("select count(*) from perdure.attempt") == 0


async def test_a_job_that_is_lost_inside_the_block_takes_the_effect_with_it(effects: Stage) -> None:
    """When the generation moves on while a block is open, the effect isn't committed and the end is refused
    [DW-41, DW-70]. Red when the commit doesn't ask for the generation."""
    app, inside, go = App("a"), asyncio.Event(), asyncio.Event()

    @app.task
    async def work(ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [ctx.job.id])
            inside.set()
            await go.wait()

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app) as worker:
        await asyncio.wait_for(inside.wait(), BOUND_SECONDS)
        await effects.rows("update perdure.job set generation = generation + 1 where id = %s returning id", id)
        go.set()
        await until(lambda: worker.gauges()["settled"].get("stale") == 1)

    assert await effects.value("select count(*) from effect") == 0
    assert await effects.value("select count(*) from perdure.history") == 0


@pytest.mark.usefixtures("grace")
@pytest.mark.parametrize("how", ["timeout", "cancel", "drain"])
async def test_a_handler_that_is_stopped_inside_its_block_has_done_nothing(effects: Stage, how: str) -> None:
    """Timed out, cancelled or drained inside a block: rolled back, and the session is clean. Red when the block of a
    cancelled handler commits."""
    app, inside = App("a"), asyncio.Event()

    @app.task(timeout=3_600, retry=Retry(max_attempts=1))
    async def work(ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [ctx.job.id])
            inside.set()
            await tx.connection.execute("select pg_sleep(600)")

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app, queues={"default": 1}, drain_seconds=0.5) as worker:
        await asyncio.wait_for(inside.wait(), BOUND_SECONDS)
        if how == "cancel":
            assert await effects.cancel(id) == "requested"
        if how == "timeout":
            worker._runners[0].slots[0].deadline = 0.0
        if how != "drain":
            await effects.until_in("dead" if how == "timeout" else "history", id)
            await clean(effects)
    job = await effects.job(id)

    assert job.place == {"timeout": "dead", "cancel": "history", "drain": "ready"}[how]
    assert job.attempt == (0 if how == "drain" else 1)
    assert await effects.value("select count(*) from effect") == 0


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_a_thread_that_was_stopped_commits_nothing(effects: Stage, how: str) -> None:
    """A plain handler that runs past its timeout, or is cancelled, inside its block and then returns has done nothing:
    its job ends, or has ended, without it. Red when a thread's transaction is committed whatever its slot says."""
    app, inside, go = App("a"), threading.Event(), threading.Event()

    @app.task(timeout=3_600, retry=Retry(max_attempts=1))
    def work(ctx: Context) -> None:
        with ctx.transaction() as tx:
            tx.connection.execute(EFFECT, [ctx.job.id])
            inside.set()
            go.wait(BOUND_SECONDS)

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app, queues={"default": 1}) as worker:
        await asyncio.to_thread(inside.wait, BOUND_SECONDS)
        if how == "cancel":
            assert await effects.cancel(id) == "requested"
        else:
            worker._runners[0].slots[0].deadline = 0.0
        await until(lambda: worker._runners[0].slots[0].stop is not None)
        go.set()
        (job,) = await effects.until_in("dead" if how == "timeout" else "history", id)
        await clean(effects)

    assert (job.reason, job.outcome) == (("exhausted", None) if how == "timeout" else (None, "cancelled"))
    assert await effects.value("select count(*) from effect") == 0


@pytest.mark.parametrize("committed", [True, False])
async def test_a_commit_of_unknown_outcome_is_looked_for(
    effects: Stage, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """When the connection is lost in the commit, a job that was committed is found in history and counts as completed;
    one that wasn't runs again, uncharged; either way there is one effect [OPS-22]. Red when the answer isn't looked
    for, and when it is charged."""
    app, runs, real, lost = App("a"), list[int](), AsyncOpen.commit, list[int]()

    async def losing(opened: AsyncOpen) -> None:
        if not lost:
            lost.append(1)
            await (real(opened) if committed else opened.rollback())
            raise ConnectionLost("the wire was cut")
        await real(opened)

    monkeypatch.setattr(AsyncOpen, "commit", losing)

    @app.task(retry=Retry(max_attempts=1))
    async def work(ctx: Context) -> str:
        runs.append(ctx.attempt)
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [ctx.job.id])
        return "done"

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app) as worker:
        (job,) = await effects.until_in("history", id)
        await until(lambda: worker.gauges()["settled"].get("completed") == 1)
        await effects.until_true("select not exists (select from perdure.lease)")

    assert (job.result, job.attempt) == ("done", 1)
    assert runs == [1] * (1 if committed else 2)
    assert await effects.value("select count(*) from effect") == 1
    assert worker.gauges()["settled"].get("stale", 0) == 0


async def test_what_must_run_once_is_not_repeated_when_its_child_cannot_commit(effects: Stage) -> None:
    """A process task that is declared ``at_most_once``, and whose job another language has enqueued without saying so,
    is dead with ``needs_review`` when Postgres refuses its commit for the moment; it isn't run again [KIT-25]. Red when
    a child asks the enqueuer only."""
    effects.conn.execute(
        "create function refuse() returns trigger language plpgsql as "
        "$$ begin raise exception 'not now' using errcode = '40001'; end $$"
    )
    effects.conn.execute(
        "create constraint trigger at_commit after insert on effect deferrable initially deferred "
        "for each row execute function refuse()"
    )
    id = await effects.value("select perdure.enqueue_v1('takes_effect_once')")
    async with working(effects.db, children.app):
        (job,) = await effects.until_in("dead", id)

    assert (job.reason, job.attempt) == ("needs_review", 1)
    assert "not now" in str(job.error)


async def test_no_transaction_is_open_unless_a_handler_asks_for_one(effects: Stage) -> None:
    """While a handler runs that opened no block, no session of its worker is in a transaction; one that did has exactly
    one [KIT-16]. Red when every handler is given a transaction."""
    app, running, go, inside, leave = App("a"), asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.task
    async def work(ctx: Context) -> None:
        running.set()
        await go.wait()
        async with ctx.transaction():
            inside.set()
            await leave.wait()

    ours = "from pg_stat_activity where datname = current_database() and application_name = 'perdure-handler'"
    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app):
        await asyncio.wait_for(running.wait(), BOUND_SECONDS)
        before = await effects.value(f"select count(*) {ours}")
        go.set()
        await asyncio.wait_for(inside.wait(), BOUND_SECONDS)
        within = await effects.value(f"select count(*) {ours} and state = 'idle in transaction'")
        leave.set()
        await effects.until_in("history", id)

    assert (before, within) == (0, 1)
