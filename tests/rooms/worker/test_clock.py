"""A worker whose wall clock can't be trusted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest

from perdure import App, Context
from perdure.core.backoff import Retry
from perdure.jobs.loops import ender, intake
from tests.rooms.worker.stage import Stage, working

STEPS = cycle((timedelta(hours=1), timedelta(hours=-1), timedelta(days=30)))


def _jumping() -> datetime:
    """Another hour each time it is asked."""
    return datetime.now(UTC) + next(STEPS)


async def test_a_worker_whose_clock_jumps_runs_what_is_due(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's wall clock jumps by an hour or a month whenever it is read: leases, due times, delays and beats are of
    the database's clock and of the monotonic one, so every job runs when it should, none too early, and nobody is taken
    for dead. Red when a due time is computed in the worker."""
    for module in (ender, intake):
        monkeypatch.setattr(module, "utc_now", _jumping)
    app = App("a")

    @app.task(retry=Retry(max_attempts=3, delays=(0.3, 0.3), jitter="none"))
    async def at_second_try(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ConnectionError("not yet")

    ids = await stage.enqueue(*[at_second_try.job() for _ in range(20)])
    far = await stage.enqueue(at_second_try.job().options(delay=3_600))
    async with working(stage.db, app):
        await stage.until_all_in("history", ids)

        waited = "select min(extract(epoch from finished_at - created_at))::float8 from perdure.history"
        assert await stage.value(waited) >= 0.3
        assert await stage.rows("select distinct attempt, rescues from perdure.history") == [(2, 0)]
        assert (await stage.job(far[0])).place == "scheduled"
        assert await stage.value("select count(*) from perdure.worker where state = 'dead'") == 0
