"""The day partitions, and whoever reads the tables meanwhile."""

from __future__ import annotations

import pytest

from perdure.app.registry import App
from perdure.fleet.ops import upkeep
from perdure.jobs.loops import chores as loop
from perdure.jobs.ops import chores
from tests.rooms.worker.stage import Stage, until, working


async def test_days_that_a_reader_held_up_are_made_when_it_is_gone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While a transaction that has read history stays open, the worker makes the attempt log's day, settles, and
    tries history's again; once the reader is gone it is made. Red when a failure counts as done, or ends the round."""
    monkeypatch.setattr(loop, "DUTY_RETRY_SECONDS", 0.1)
    caplog.set_level("INFO", "perdure.chores")
    app = App("a")

    @app.task
    async def work() -> None:
        pass

    last = await stage.value("select to_char((now() at time zone 'UTC')::date + 3, 'YYYYMMDD')")
    for parent in chores.DAY_TABLES:
        stage.conn.execute(f"drop table perdure.{parent}_{last}".encode())
    made = f"select to_regclass('perdure.' || %s || '_{last}') is not null"
    reader = stage.db.connect()
    reader.execute("begin")
    reader.execute("select count(*) from perdure.history")
    async with working(stage.db, app):
        await stage.until_true(made, "attempt")
        (id,) = await stage.enqueue(work.job())
        await until(lambda: caplog.text.count("history.make waits for another transaction") > 1)
        assert not await stage.value(made, "history")
        reader.execute("commit")
        await stage.until_true(made, "history")
        await stage.until_in("history", id)


async def test_the_making_of_days_waits_briefly_for_a_lock(stage: Stage) -> None:
    """Its transaction waits a tenth of a second for a lock, because settlements wait behind it; other chores, and the
    session afterwards, wait as long as they did."""
    shown = []
    for lock_ms in (chores.DAYS_LOCK_MS, None):
        with stage.conn.transaction():
            await stage.ask(upkeep.take("days", lock_ms=lock_ms))
            shown.append(await stage.value("show lock_timeout"))
    shown.append(await stage.value("show lock_timeout"))

    assert shown == ["100ms", "20s", "20s"]
