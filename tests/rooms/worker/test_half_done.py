"""Chores that fail on the way."""

from __future__ import annotations

import pytest

from perdure.app.registry import App
from perdure.core import limits
from perdure.core.errors import StatementRefused
from perdure.core.op import Op
from perdure.jobs.ops import chores, queues
from tests.rooms.worker.stage import Stage, until, working


@pytest.mark.parametrize("chore", ["a duty", "release"])
async def test_a_chore_that_fails_half_way_has_done_nothing(
    stage: Stage, app: App, monkeypatch: pytest.MonkeyPatch, chore: str
) -> None:
    """A chore of several statements fails after the first, a duty or what a look has found: nothing of it stays. Red
    when either is driven statement by statement."""

    def half(*_: object) -> Op[int]:
        yield from queues.ensure(["half"])
        raise StatementRefused("no such luck")

    monkeypatch.setattr(limits, "CHORE_PAUSE_SECONDS", 0.02)
    if chore == "release":
        monkeypatch.setattr(chores, chore, half)
    else:
        monkeypatch.setattr(chores, "duties", lambda days: [chores.Duty(chore, half, period=0.1)])
    async with working(stage.db, app) as worker:
        worker._chores._parked = True
        await until(lambda: worker._chores.failures[chore] > 1)

    assert await stage.value("select count(*) from perdure.queue where name = 'half'") == 0
