"""``ctx.on(session)``: the end of a job in a transaction of the application's own, whichever library that lives in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from django.db import transaction
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from perdure import App, Context, Retry
from perdure.core.errors import OwnershipLost, Unsupported
from tests.conformance.ways import Django, driver
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

WRITE = "insert into effect (job) values (1)"


class RolledBack(Exception):
    """What an application raises out of its transaction."""


@asynccontextmanager
async def by_psycopg(url: str) -> AsyncIterator[tuple[Any, Any]]:
    """An AsyncConnection of psycopg in a transaction, and what executes on it."""
    async with await psycopg.AsyncConnection.connect(url) as conn, conn.transaction():
        yield conn, conn.execute


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[tuple[Any, Any]]:
    """The same of asyncpg."""
    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction():
            yield conn, conn.execute
    finally:
        await conn.close()


@asynccontextmanager
async def by_sqlalchemy(url: str) -> AsyncIterator[tuple[Any, Any]]:
    """An AsyncSession."""
    engine = create_async_engine(driver(url, "asyncpg"))
    async with AsyncSession(engine) as session, session.begin():
        yield session, lambda text: session.execute(sqlalchemy.text(text))
    await engine.dispose()


@contextmanager
def by_blocking_psycopg(url: str) -> Iterator[tuple[Any, Any]]:
    """A Connection of psycopg."""
    with psycopg.connect(url) as conn:
        yield conn, conn.execute


@contextmanager
def by_blocking_sqlalchemy(url: str) -> Iterator[tuple[Any, Any]]:
    """A Session."""
    engine = sqlalchemy.create_engine(driver(url, "psycopg"))
    with Session(engine) as session, session.begin():
        yield session, lambda text: session.execute(sqlalchemy.text(text))
    engine.dispose()


@contextmanager
def by_django(url: str) -> Iterator[tuple[Any, Any]]:
    """A connection of Django in ``atomic``."""
    way = Django(url)
    try:
        with transaction.atomic(using=way.alias):
            yield way.wrapper, way.write
    finally:
        way.close()


AWAITED: dict[str, Callable[[str], AbstractAsyncContextManager[tuple[Any, Any]]]] = {
    "psycopg": by_psycopg,
    "asyncpg": by_asyncpg,
    "sqlalchemy": by_sqlalchemy,
}
BLOCKING: dict[str, Callable[[str], AbstractContextManager[tuple[Any, Any]]]] = {
    "blocking psycopg": by_blocking_psycopg,
    "blocking sqlalchemy": by_blocking_sqlalchemy,
    "django": by_django,
}


@pytest.fixture
def effects(stage: Stage) -> Stage:
    """A table of the application's own."""
    stage.conn.execute("create table effect (job bigint not null)")
    return stage


def task(app: App, url: str, kind: str, fails: bool) -> Any:
    """A task that writes, completes its job, and perhaps rolls both back, in a transaction of that library."""
    if kind in AWAITED:

        @app.task
        async def awaits(ctx: Context) -> str:
            try:
                async with AWAITED[kind](url) as (session, write):
                    await write(WRITE)
                    joined: Any = ctx.on(session)
                    assert (await joined.once("k"), await joined.once("k")) == (True, False)
                    await joined.complete("in the transaction")
                    if fails:
                        raise RolledBack
            except RolledBack:
                pass
            return "returned"

        return awaits

    @app.task
    def blocks(ctx: Context) -> str:
        try:
            with BLOCKING[kind](url) as (session, write):
                write(WRITE)
                joined: Any = ctx.on(session)
                assert (joined.once("k"), joined.once("k")) == (True, False)
                joined.complete("in the transaction")
                if fails:
                    raise RolledBack
        except RolledBack:
            pass
        return "returned"

    return blocks


@pytest.mark.parametrize("fails", [False, True], ids=["commit", "rollback"])
@pytest.mark.parametrize("kind", [*AWAITED, *BLOCKING])
async def test_whoever_commits_commits_both(effects: Stage, kind: str, fails: bool) -> None:
    """What ``complete`` writes into the application's transaction is committed with the application's own row, by that
    commit: the job has ended then, and what its handler returns is no stale report. Rolled back, it was never said,
    and the job ends as its handler does [DW-49]. Red when ``complete`` has a transaction of its own, and when a
    committed one is reported as stale."""
    app = App("a")
    (id,) = await effects.enqueue(task(app, effects.db.url, kind, fails).job())
    async with working(effects.db, app) as worker:
        (job,) = await effects.until_in("history", id)
        await until(lambda: worker.gauges()["settled"].get("completed") == 1)
        await effects.until_true("select not exists (select from perdure.lease)")

    one = "select e.xmin = h.xmin from effect e, perdure.history h, perdure.effect o where o.xmin = h.xmin"
    assert await effects.rows(one) == ([] if fails else [(True,)])
    assert job.result == ("returned" if fails else "in the transaction")
    assert worker.gauges()["settled"].get("stale", 0) == 0


async def test_who_lost_the_job_can_not_complete_it(effects: Stage) -> None:
    """``complete`` by a handler whose job is somebody else's raises OwnershipLost, and what the application then rolls
    back is all there was [DW-41, DW-107]. Red without the generation in what ``complete`` writes."""
    app, told = App("a"), list[BaseException]()
    running, go = asyncio.Event(), asyncio.Event()

    @app.task
    async def work(ctx: Context) -> None:
        running.set()
        await go.wait()
        try:
            async with by_psycopg(effects.db.url) as (conn, write):
                await write(WRITE)
                await ctx.on(conn).complete()
        except OwnershipLost as error:
            told.append(error)
            raise

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app) as worker:
        await asyncio.wait_for(running.wait(), BOUND_SECONDS)
        await effects.rows("update perdure.job set generation = generation + 1 where id = %s returning id", id)
        go.set()
        await until(lambda: worker.gauges()["settled"].get("stale") == 1)

    assert len(told) == 1
    assert await effects.value("select count(*) from effect") == 0


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
async def test_a_handler_that_fails_after_its_commit_has_completed(
    effects: Stage, caplog: pytest.LogCaptureFixture, commits: bool
) -> None:
    """What a handler raises once its job's end is committed changes nothing: it isn't run again, and the log doesn't
    say that it is dead; rolled back, it does. Red when the worker's own view of the end wins, or is told."""
    app, runs = App("a"), list[int]()

    @app.task(retry=Retry(max_attempts=1))
    async def work(ctx: Context) -> None:
        runs.append(ctx.attempt)
        async with by_psycopg(effects.db.url) as (conn, _):
            await ctx.on(conn).complete("done")
            if not commits:
                raise psycopg.Rollback
        raise ValueError("too late")

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app) as worker:
        await until(lambda: worker.gauges()["settled"].get("completed" if commits else "dead") == 1)
        (job,) = await effects.until_in("history" if commits else "dead", id)
    told = [each.getMessage() for each in caplog.records if f"job {id} " in each.getMessage()]

    assert (job.outcome, job.result, runs) == (("completed", "done", [1]) if commits else (None, None, [1]))
    late = "has completed, and failed after that: ValueError: too late; attempt 1 of 1 failed"
    dead = "is dead: ValueError: too late; attempt 1 of 1 failed"
    assert told == [f"job {id} (work) {late if commits else dead}"]


async def test_a_transaction_that_is_still_open_decides_when_it_ends(
    effects: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that returns while the transaction with its job's end is open, as under a middleware that commits
    later, has its job settled by that commit; a line says once which job waits. Red when the settlement gives up on the
    lock."""
    app, returned = App("a"), asyncio.Event()
    conn = await psycopg.AsyncConnection.connect(effects.db.url)

    @app.task
    async def work(ctx: Context) -> None:
        await conn.execute(WRITE)
        await ctx.on(conn).complete("done")
        returned.set()

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app) as worker:
        await asyncio.wait_for(returned.wait(), BOUND_SECONDS)
        await until(lambda: worker._settler._blocked)  # it has waited for the lock, as long as it may
        before = (await effects.job(id)).place
        await conn.commit()
        (job,) = await effects.until_in("history", id)
        await until(lambda: worker.gauges()["settled"].get("completed") == 1)
    await conn.close()

    assert (before, job.result) == ("leased", "done")
    assert worker.gauges()["settled"].get("stale", 0) == 0
    told = [each.getMessage() for each in caplog.records if "is locked by" in each.getMessage()]
    assert told == [f"job {id} is locked by another transaction: its end waits"]


@pytest.mark.parametrize("first", ["block", "complete"])
async def test_a_handler_ends_its_job_in_one_transaction_only(effects: Stage, first: str) -> None:
    """``complete`` in an open ``ctx.transaction()`` would wait for the lock of that, and a block after it would end the
    job a second time: each is refused at once, and nothing is written by either. Red without the two looks."""
    app, told = App("a"), list[str]()

    async def complete(ctx: Context) -> None:
        async with by_psycopg(effects.db.url) as (conn, execute):
            await execute(WRITE)
            await ctx.on(conn).complete("done")
            if first == "complete":
                await block(ctx)

    async def block(ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await tx.connection.execute(WRITE)
            if first == "block":
                await complete(ctx)

    @app.task(retry=Retry(max_attempts=1))
    async def work(ctx: Context) -> None:
        try:
            await (block if first == "block" else complete)(ctx)
        except Unsupported as error:
            told.append(str(error))
            raise

    (id,) = await effects.enqueue(work.job())
    async with working(effects.db, app):
        await effects.until_in("dead", id)

    (said,) = told
    assert said.startswith(
        "ctx.on(…).complete: would wait" if first == "block" else "ctx.transaction: would end the job"
    )
    assert await effects.value("select count(*) from effect") == 0
