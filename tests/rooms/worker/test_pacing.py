"""What a worker promises to those who may have to rescue its jobs, and how it keeps the promise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure.app.registry import App
from perdure.core import limits
from perdure.jobs.loops.pacer import Pacer
from tests.rooms.worker.stage import Stage, until, working

SLOTS = 5


async def test_a_worker_starts_no_more_than_it_has_promised(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While settlements are stuck, a worker's handlers go on only until as many have returned as its row says; a larger
    promise is written first, and then the others start [DW-39]. Red when the pacer isn't asked before a start."""
    app, returned, go = App("a"), [0], asyncio.Event()

    @app.task
    async def work() -> None:
        returned[0] += 1

    written = Pacer._written

    async def held_back(self: Pacer, *args: Any) -> bool:
        await go.wait()
        return await written(self, *args)

    monkeypatch.setattr(Pacer, "_written", held_back)
    ids = await stage.enqueue(*[work.job() for _ in range(400)])
    locked = stage.db.connect()
    locked.execute("begin")
    locked.execute("select from perdure.job for no key update")
    async with working(stage.db, app, queues={"default": SLOTS}) as worker:
        most = limits.UNSETTLED_STEPS[0]
        await until(lambda: worker._pacer.full)
        await until(lambda: returned[0] >= most and not worker._runners[0].free)
        promised = await stage.value("select unsettled from perdure.worker where id = %s", worker.id)
        assert promised == most + 1
        assert most <= returned[0] <= promised + SLOTS
        go.set()
        await stage.until_true(
            "select coalesce(unsettled > %s, true) from perdure.worker where id = %s", promised, worker.id
        )
        await until(lambda: returned[0] > promised + SLOTS)
        locked.execute("rollback")
        await stage.until_all_in("history", ids)
