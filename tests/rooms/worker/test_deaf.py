"""A handler that keeps the event loop to itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from perdure.app.registry import App
from perdure.fleet.loops.monitor import Monitor
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working


async def test_a_loop_that_does_not_answer_is_reported_with_its_stack(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that blocks the loop past the bound is named, once, by a warning with the loop's stack, and is not a
    death: it completes in its first attempt, on its first worker. Red when the heart doesn't check the loop. A machine
    that stops may make the loop deaf at other moments, which are named, too."""
    monkeypatch.setattr(Monitor, "DEAF_SECONDS", 0.5)
    app, checks, check = App("a"), [], Monitor.check

    def counted(monitor: Monitor) -> None:
        check(monitor)
        checks.append("in hogs_the_loop" in caplog.text)

    monkeypatch.setattr(Monitor, "check", counted)

    @app.task
    async def hogs_the_loop() -> None:
        await until(lambda: worker._heart._monitor._asked_at is None)  # it owes no answer of before
        deadline = time.monotonic() + BOUND_SECONDS
        while checks.count(True) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)

    async with working(stage.db, app) as worker:
        first = worker.id
        (id,) = await stage.enqueue(hogs_the_loop.job())
        (job,) = await stage.until_in("history", id)
        assert worker.id == first

    warnings = [record.getMessage() for record in caplog.records if record.name == "perdure.loop"]
    assert sum("in hogs_the_loop" in warning for warning in warnings) == 1
    assert (job.attempt, job.rescues) == (1, 0)


async def test_a_loop_that_answers_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A loop that answers between two checks is never reported, however many checks there are."""
    monkeypatch.setattr(Monitor, "DEAF_SECONDS", 0.0)
    monitor = Monitor()
    for _ in range(10):
        await asyncio.to_thread(monitor.check)
        await asyncio.sleep(0)

    assert [record for record in caplog.records if record.name == "perdure.loop"] == []
