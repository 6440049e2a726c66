"""A worker whose database URL leads to PgBouncer in transaction mode, beside callers who use it, too."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from perdure import AsyncClient, Client, RetryAfter
from perdure.app.registry import App
from perdure.app.worker import Worker
from perdure.core.errors import ConfigError
from perdure.fleet.ops.upkeep import take
from perdure.jobs.model import JobSpec
from perdure.pg.drive import drive
from perdure.pg.pooled import PooledLink
from tests.conformance.ways import driver
from tests.pooler import Pooler
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

OURS = "from pg_stat_activity where application_name ~ '^perdure-' and datname = current_database()"


def _app() -> App:
    app = App("shop")

    @app.task
    async def sell(order_id: int) -> int:
        return order_id

    @app.task
    async def wait_once(ctx: Any = None) -> None:
        raise RetryAfter(0.1)

    return app


async def _psycopg(url: str, job: JobSpec) -> int:
    def enqueue() -> int:
        with psycopg.connect(url, prepare_threshold=None) as conn:
            return Client(url).on(conn).jobs.enqueue(job).id

    return await asyncio.to_thread(enqueue)


async def _psycopg_async(url: str, job: JobSpec) -> int:
    async with await psycopg.AsyncConnection.connect(url, prepare_threshold=None) as conn:
        return (await AsyncClient(url).on(conn).jobs.enqueue(job)).id


async def _asyncpg(url: str, job: JobSpec) -> int:
    conn = await asyncpg.connect(url, statement_cache_size=0)
    try:
        async with conn.transaction():
            return (await AsyncClient(url).on(conn).jobs.enqueue(job)).id
    finally:
        await conn.close()


async def _sqlalchemy(url: str, job: JobSpec) -> int:
    def enqueue() -> int:
        engine = sqlalchemy.create_engine(
            driver(url, "psycopg"), poolclass=NullPool, connect_args={"prepare_threshold": None}
        )
        with engine.begin() as conn:
            return Client(url).on(conn).jobs.enqueue(job).id

    return await asyncio.to_thread(enqueue)


async def _sqlalchemy_asyncpg(url: str, job: JobSpec) -> int:
    engine = create_async_engine(
        driver(url, "asyncpg"),
        poolclass=NullPool,
        connect_args={
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"__asyncpg_{uuid.uuid4()}__",
        },
    )
    async with engine.begin() as conn:
        return (await AsyncClient(url).on(conn).jobs.enqueue(job)).id


WAYS: list[Callable[[str, JobSpec], Awaitable[int]]] = [
    _psycopg, _psycopg_async, _asyncpg, _sqlalchemy, _sqlalchemy_asyncpg,
]  # fmt: skip


@pytest.mark.parametrize("direct", [False, True], ids=["poller", "listener"])
async def test_everything_works_through_a_pooler(stage: Stage, pooler: Pooler, direct: bool) -> None:
    """Callers of every driver and a worker share one session of the server through PgBouncer: jobs run, are retried,
    fall due and are cancelled. With a direct URL the worker listens and its heart beats there; without one it only
    polls [KIT-20]. Red when a link prepares, locks or sets anything for its session."""
    app, url = _app(), pooler.url(stage.db.name)
    sell = app.tasks["sell"]
    async with (
        AsyncClient(url) as client,
        working(stage.db, app, url=url, direct_url=stage.db.url if direct else None) as worker,
    ):
        ids = [await way(url, sell.job(order_id=number)) for number, way in enumerate(WAYS)]
        ids += [job.id for job in await client.jobs.enqueue_many([sell.job(order_id=n) for n in range(300)])]
        ids += [job.id for job in await asyncio.gather(*[client.jobs.enqueue(sell.job(order_id=n)) for n in range(50)])]
        late = await client.jobs.enqueue(sell.job(order_id=1), delay=0.3)
        retried = await client.jobs.enqueue(app.tasks["wait_once"].job())
        never = await client.jobs.enqueue(sell.job(order_id=1), delay=3_600)
        assert await client.jobs.cancel(never.id) == "cancelled"
        await stage.until_all_in("history", [*ids, late.id, never.id])
        await until(lambda: worker._settler.counts["retry"] or worker._settler.counts["snooze"])
        assert await client.jobs.cancel(retried.id) in ("cancelled", "requested")
        await stage.until_in("history", retried.id)
        await until(lambda: worker._claimer.asleep)
        # A session that was lost is opened again, so what there is is waited for; and what has been left has gone.
        for name in ("perdure-listen", "perdure-beat") if direct else ():
            await stage.until_true(f"select exists (select {OURS} and application_name ~ %s)", name)
        names = {str(name).split()[0] for (name,) in await stage.rows(f"select application_name {OURS}")}
        await stage.until_true(f"select count(*) <= 1 {OURS} and application_name !~ 'listen|beat'")

    assert {job.outcome for job in [await stage.job(id) for id in ids]} == {"completed"}
    assert direct or "perdure-listen" not in names


async def test_a_sleeper_behind_a_pooler_is_woken_by_its_direct_session(stage: Stage, pooler: Pooler) -> None:
    """With a direct URL the sign of sleepers stands on the listener's session, and a caller who commits through the
    pooler wakes the worker by notify. Red when the listener isn't given the direct URL."""
    app, url = _app(), pooler.url(stage.db.name)
    async with AsyncClient(url) as client, working(stage.db, app, url=url, direct_url=stage.db.url) as worker:
        await until(lambda: worker._claimer.asleep)
        await stage.until_true("select exists (select from pg_locks where locktype = 'advisory' and mode ~ 'Share')")
        woken: list[str] = []
        worker._listener._on_notify = woken.append
        job = await client.jobs.enqueue(app.tasks["sell"].job(order_id=1))
        await until(lambda: woken)
        worker._claimer.notified(woken[0])
        await stage.until_in("history", job.id)


async def test_a_direct_url_of_another_database_is_refused(stage: Stage, pooler: Pooler) -> None:
    """A heart that beats in another database would have its worker declared dead: the worker doesn't start. Red without
    `check_direct`."""
    worker = Worker(_app(), pooler.url(stage.db.name), direct_url=stage.db.server.url)
    with pytest.raises(ConfigError, match="PERDURE_DIRECT_URL"):
        await asyncio.wait_for(worker.run(), BOUND_SECONDS)


async def test_a_chore_behind_a_pooler_is_free_again_when_its_holder_dies(stage: Stage, pooler: Pooler) -> None:
    """The lock of a chore belongs to a transaction: it is tried and not waited for, stays on no session of the
    pooler's, and is free as soon as its holder is gone [DW-113]. Red when the guard is a session's lock."""
    holder, link = stage.db.connect(), PooledLink(pooler.url(stage.db.name), "perdure", "maintenance")
    try:
        holder.execute("begin")
        assert await asyncio.to_thread(lambda: drive(holder, take("rescue")).mine)
        assert not (await link.transaction(take("rescue"))).mine
        await stage.value("select pg_terminate_backend(%s, 10000)", holder.info.backend_pid)
        assert (await link.transaction(take("rescue"))).mine
        assert await stage.value("select count(*) from pg_locks where locktype = 'advisory'") == 0
    finally:
        await link.close()


async def test_a_heart_with_a_direct_url_stands_in_no_line_of_the_pooler(stage: Stage, pooler: Pooler) -> None:
    """A stranger's transaction has the pooler's only session: the worker's heart beats on by the direct URL, so that it
    isn't taken for dead however long that lasts, and then it works on, with nothing rescued. Red when the heart beats
    through the pooler."""
    app, url = _app(), pooler.url(stage.db.name)
    async with working(stage.db, app, url=url, direct_url=stage.db.url) as worker:
        with psycopg.connect(url, prepare_threshold=None) as stranger:
            await asyncio.to_thread(stranger.execute, "select 1")
            (id,) = await stage.enqueue(app.tasks["sell"].job(order_id=1))
            for _ in range(3):
                beaten = await stage.value("select expires_at from perdure.worker")
                await stage.until_true("select expires_at > %s from perdure.worker", beaten)
            assert (await stage.job(id)).place == "ready"
        await stage.until_in("history", id)

        assert await stage.rows("select id, state from perdure.worker") == [(worker.id, "alive")]
        assert await stage.value("select rescues from perdure.history") == 0
