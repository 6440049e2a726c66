"""The trust window: a worker that can't beat stops starting jobs before others may take them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable
from pathlib import Path

import pytest

from perdure import App
from perdure.app.worker import Worker
from perdure.core import limits
from perdure.core.errors import ServerUnavailable
from perdure.fleet.loops.heart import Heart
from perdure.jobs.loops import minder
from perdure.jobs.loops.slot import Slot
from perdure.runtime.clock import monotonic
from perdure.runtime.nursery import Child, Nursery
from tests.rooms.worker import children
from tests.rooms.worker.stage import Stage, until, working

DEFAULTS = limits.TRUST_SECONDS, limits.DEAD_SECONDS


@pytest.fixture(autouse=True)
def distrust(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust that lapses soon, of a worker that nobody declares dead meanwhile: it would begin anew, and be trusted."""
    monkeypatch.setattr(limits, "TRUST_SECONDS", 2.5)


async def test_a_worker_without_beats_starts_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the database can't be reached by the heart, the worker takes its ownership for lost before the deadline that
    others go by: nothing is claimed; with the next good beat it goes on [DW-105]. Red when the claimer doesn't ask for
    trust."""
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

    assert DEFAULTS[0] < DEFAULTS[1]
    assert (idle, left) == ([], 20)
    assert min(started) >= back


async def test_a_process_task_whose_turn_comes_too_late_is_not_started(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A job that was taken up in time and has waited for a child process since isn't called when its turn comes after
    the worker has lost its trust; with the next good beat it is [DW-105]. Red when only the slot asks for trust."""
    told, reached = tmp_path / "pid", [True]
    beat = Heart._beat

    def cut(self: Heart) -> None:
        if not reached[0]:
            raise ServerUnavailable("the wire is cut")
        beat(self)

    monkeypatch.setattr(Heart, "_beat", cut)
    monkeypatch.setattr(minder, "cores", lambda: 1)
    await stage.enqueue(children.stays.job(str(told)))
    async with working(stage.db, children.app, queues={"default": 2}) as worker:
        await until(lambda: told.exists() and told.read_text() != "")
        (second,) = await stage.enqueue(children.whose_process.job())
        await until(lambda: any(slot.queued is not None and slot.queued.id == second for slot in _slots(worker)))
        reached[0] = False
        await until(lambda: monotonic() > worker._heart.trusted_until)
        os.kill(pid := int(told.read_text()), signal.SIGKILL)
        await until(lambda: set(worker._minder._nursery._codes) - {pid})  # there is a child for the second one
        looked = worker._claimer._looked_at
        await until(lambda: worker._claimer._looked_at > looked)
        back = await stage.value("select clock_timestamp()")
        reached[0] = True
        (job,) = await stage.until_in("history", second)

    assert job.started_at is not None
    assert job.started_at >= back


async def test_a_suspect_whose_child_comes_too_late_is_not_started(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspect that has waited for its child until the worker had lost its trust isn't called when the child comes;
    with the next good beat it is [DW-105]. Red when only the slot asks for trust."""
    asked, comes, reached = asyncio.Event(), asyncio.Event(), [True]
    beat, child = Heart._beat, Nursery.child

    def cut(self: Heart) -> None:
        if not reached[0]:
            raise ServerUnavailable("the wire is cut")
        beat(self)

    async def late(self: Nursery) -> Child:
        asked.set()
        await comes.wait()
        return await child(self)

    monkeypatch.setattr(Heart, "_beat", cut)
    monkeypatch.setattr(Nursery, "child", late)
    (suspect,) = await stage.enqueue(children.whose_process.job())
    await stage.rows("update perdure.job set rescues = 1 returning id")
    async with working(stage.db, children.app) as worker:
        await until(asked.is_set)
        reached[0] = False
        await until(lambda: monotonic() > worker._heart.trusted_until)
        waited = worker._minder._distrusted
        waits = asyncio.Event()

        def seen(child: Child) -> Awaitable[None]:
            waits.set()
            return waited(child)

        monkeypatch.setattr(worker._minder, "_distrusted", seen)
        comes.set()
        await until(waits.is_set)
        back = await stage.value("select clock_timestamp()")
        reached[0] = True
        (job,) = await stage.until_in("history", suspect)

    assert job.started_at is not None
    assert job.started_at >= back


def _slots(worker: Worker) -> list[Slot]:
    return worker._runners[0].slots
