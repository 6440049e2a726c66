"""What a worker's time-outs do, and that none of its transactions waits for a handler."""

from __future__ import annotations

import asyncio

import pytest

from perdure.app.registry import App
from perdure.pg.connect import BOUNDS, Bounds
from tests.rooms.worker.stage import Stage, until, working

OURS = "from pg_stat_activity where application_name ~ '^perdure-' and datname = current_database()"


async def test_no_transaction_is_open_while_handlers_run(stage: Stage) -> None:
    """While an async and a plain handler run, no session of their worker is in a transaction for longer than a
    statement takes, and what others write meanwhile moves the horizon on; each session names its worker [KIT-16,
    KIT-17]. Red when the claim stays open until its jobs have ended."""
    app, go, running = App("a"), asyncio.Event(), set[str]()

    @app.task
    async def on_the_loop() -> None:
        running.add("loop")
        await go.wait()

    @app.task
    def in_a_thread() -> None:
        running.add("thread")
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()

    loop = asyncio.get_running_loop()
    ids = await stage.enqueue(app.tasks["on_the_loop"].job(), app.tasks["in_a_thread"].job())
    async with working(stage.db, app, name="till:7") as worker:
        await until(lambda: running == {"loop", "thread"})
        horizon = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        before = await stage.value(horizon)
        for _ in range(3):
            await stage.value("select pg_current_xact_id()::text")
        # Looks and beats come and go: what is asked is whether one moment shows none of them.
        await stage.until_true(
            f"select bool_and(state = 'idle' and backend_xid is null and backend_xmin is null) {OURS}"
        )
        await stage.until_true(f"select ({horizon}) > %s", before)
        # One that was lost is opened again, and the listener's may come after the first jobs.
        for purpose in ("claim", "settle", "beat", "listen"):
            name = f"perdure-{purpose} till:7"
            await stage.until_true(f"select exists (select {OURS} and application_name = %s)", name)
        assert worker._settler.waiting == 0
        go.set()
        await stage.until_all_in("history", ids)


SLOW = """
create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.01); return null; end $$;
create trigger slow after insert on perdure.history for each row execute function slow();
"""


async def test_a_settlement_that_takes_too_long_is_settled_in_halves(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A flush that runs into statement_timeout isn't sent again as it was: its halves are, until they fit, and nobody
    is charged [OPS-21]. Red when 57014 is repeated like any transient error, and when it counts as a job's fault."""
    bounds = Bounds(lock_ms=100, statement_ms=200, idle_in_transaction_ms=10_000)
    monkeypatch.setitem(BOUNDS, "settle", bounds)
    app, go = App("a"), asyncio.Event()

    @app.task
    async def sell() -> None:
        await go.wait()

    stage.conn.execute(SLOW)
    ids = await stage.enqueue(*[sell.job() for _ in range(60)])
    async with working(stage.db, app, queues={"default": 60}):
        await stage.until_all_in("leased", ids)
        go.set()
        await stage.until_all_in("history", ids)
        await stage.until_true("select not exists (select from perdure.lease)")

    assert "going on with less at a time" in caplog.text
    assert await stage.rows("select distinct outcome, attempt from perdure.history") == [("completed", 1)]
