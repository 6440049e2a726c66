"""A handler that keeps the event loop to itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from perdure.app.registry import App
from perdure.fleet.loops.monitor import Monitor
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, working


async def test_a_loop_that_does_not_answer_is_reported_with_its_stack(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that blocks the loop past the bound is named, once, by a warning with the loop's stack, and is not a
    death: it completes in its first attempt, on its first worker. Red when the heart doesn't check the loop."""
    monkeypatch.setattr(Monitor, "DEAF_SECONDS", 0.5)
    app, checks, check = App("a"), [], Monitor.check

    def counted(monitor: Monitor) -> None:
        check(monitor)
        checks.append("hasn't answered" in caplog.text)

    monkeypatch.setattr(Monitor, "check", counted)

    @app.task
    async def hogs_the_loop() -> None:
        deadline = time.monotonic() + BOUND_SECONDS
        while checks.count(True) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)

    (id,) = await stage.enqueue(hogs_the_loop.job())
    async with working(stage.db, app) as worker:
        first = worker.id
        (job,) = await stage.until_in("history", id)
        assert worker.id == first

    warnings = [record.getMessage() for record in caplog.records if record.name == "perdure.loop"]
    assert len(warnings) == 1
    assert "in hogs_the_loop" in warnings[0]
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

    assert caplog.records == []
