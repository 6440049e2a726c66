"""The trust window: a worker that can't beat stops starting jobs before others may take them."""

from __future__ import annotations

import pytest

from perdure import App
from perdure.core import limits
from perdure.core.errors import ServerUnavailable
from perdure.fleet.loops.heart import Heart
from perdure.runtime.clock import monotonic
from tests.rooms.worker.stage import Stage, until, working


async def test_a_worker_without_beats_starts_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the database can't be reached by the heart, the worker takes its ownership for lost before the deadline that
    others go by: nothing that it holds is started, nothing claimed; with the next good beat it goes on [DW-105]. Red
    when the claimer doesn't ask for trust."""
    app, started, reached = App("a"), list[float](), [True]
    beat = Heart._beat

    def cut(self: Heart) -> None:
        if not reached[0]:
            raise ServerUnavailable("the wire is cut")
        beat(self)

    monkeypatch.setattr(Heart, "_beat", cut)

    @app.task
    async def work() -> None:
        started.append(monotonic())

    async with working(stage.db, app, queues={"default": 5}) as worker:
        reached[0] = False
        await until(lambda: monotonic() > worker._heart.trusted_until)
        ids = await stage.enqueue(*[work.job() for _ in range(20)])
        looked = worker._claimer._looked_at
        await until(lambda: worker._claimer._looked_at > looked)
        worker._claimer.notified("")
        again = worker._claimer._looked_at
        await until(lambda: worker._claimer._looked_at > again)
        idle, left = list(started), await stage.value("select count(*) from perdure.ready")
        reached[0] = True
        back = monotonic()
        await stage.until_all_in("history", ids)

    assert limits.TRUST_SECONDS < limits.DEAD_SECONDS
    assert (idle, left) == ([], 20)
    assert min(started) >= back
