"""A worker that vanishes is noticed when its last beat runs out, not at the next regular look after that."""

from __future__ import annotations

import asyncio
import threading

import pytest

from perdure.app.registry import App
from perdure.core import limits
from perdure.fleet.loops.heart import Heart
from perdure.fleet.ops import workers
from perdure.jobs.floors import Floor
from perdure.jobs.ops import claim as claiming
from perdure.jobs.ops import queues
from tests.rooms.worker import culprits
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

HOUR = 3_600.0


async def _vanished(stage: Stage, lasting: str) -> tuple[int, int]:
    """A worker that claimed one job and was killed: its row, whose last beat holds so much longer, and the job."""
    worker, incarnation = await stage.ask(workers.register(name="w", host="h", pid=1, slots=1, queues=["default"]))
    queue = (await stage.ask(queues.ensure(["default"])))["default"]
    lanes = tuple(queue * 4096 + priority for priority in range(10))
    batch = await stage.ask(claiming.claim(worker, incarnation, queue, Floor(lanes), 1))
    assert batch is not None
    await stage.value(
        "update perdure.worker set expires_at = clock_timestamp() + %s::interval where id = %s returning id",
        lasting,
        worker,
    )
    return worker, batch.jobs[0].id


async def test_a_look_says_when_the_next_beat_runs_out(stage: Stage) -> None:
    """A look brings the seconds to the soonest expiry among the living, and nothing of those whose beat has run out
    already: they are named as expired."""
    nobody = await stage.ask(claiming.look([]))
    for _ in range(3):
        await stage.ask(workers.register(name="w", host="h", pid=1, slots=1, queues=["default"]))
    await stage.value(
        "with u as (update perdure.worker set expires_at = clock_timestamp() + (id - 2) * interval '1 h' returning 1) "
        "select count(*) from u"
    )
    first = await stage.value("select min(id) from perdure.worker where expires_at < clock_timestamp()")
    look = await stage.ask(claiming.look([]))

    assert (nobody.lapses_in, nobody.expired) == (None, ())
    assert first in look.expired
    assert look.lapses_in is not None
    assert HOUR / 2 < look.lapses_in <= HOUR


async def test_a_vanished_worker_is_buried_when_its_beat_runs_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With polls and beats an hour apart, a worker that vanished is declared dead and its job taken over as soon as its
    last beat runs out [DW-47]. Red when the claimer waits for its regular look."""
    for name in ("POLL_IDLE_SECONDS", "RESCUE_CHECK_SECONDS", "BEAT_SECONDS"):
        monkeypatch.setattr(limits, name, HOUR)
    for name in ("TRUST_SECONDS", "DEAD_SECONDS"):
        monkeypatch.setattr(limits, name, 2 * HOUR)
    await stage.enqueue(culprits.whose_loop.job())
    gone, id = await _vanished(stage, "2 seconds")
    async with working(stage.db, culprits.app) as worker:
        await until(lambda: worker._claimer.asleep)
        await stage.until_in("history", id)

    assert await stage.value("select state from perdure.worker where id = %s", gone) == "dead"


async def test_a_worker_that_stood_still_takes_nobody_for_dead(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that finds its own beat run out, because it or its machine stood still, declares neither itself dead nor
    who was silent meanwhile: its job goes on, once, and the other is declared dead when it is still silent after the
    worker's next beat [DW-47]. Red when it believes a look that finds itself expired."""
    for name in ("POLL_IDLE_SECONDS", "RESCUE_CHECK_SECONDS", "BEAT_SECONDS"):
        monkeypatch.setattr(limits, name, 0.05)
    app, begun, gate, silent = App("a"), asyncio.Event(), asyncio.Event(), threading.Event()

    @app.task
    async def work() -> None:
        begun.set()
        await gate.wait()

    [id] = await stage.enqueue(work.job())
    async with working(stage.db, app) as worker:
        me = worker.id
        await asyncio.wait_for(begun.wait(), BOUND_SECONDS)
        with monkeypatch.context() as held_up:
            held_up.setattr(Heart, "_beat", lambda _: silent.set())
            assert await asyncio.to_thread(silent.wait, BOUND_SECONDS)
            other, _ = await stage.ask(workers.register(name="w", host="h", pid=1, slots=1, queues=["default"]))
            await stage.value(
                "with u as (update perdure.worker set expires_at = clock_timestamp() - interval '1 s' returning 1) "
                "select count(*) from u"
            )
            looks = worker._claimer.looks
            await until(lambda: worker._claimer.looks > looks + 3)
            assert await stage.value("select count(*) from perdure.worker where state = 'alive'") == 2
        await stage.until_true("select state = 'dead' from perdure.worker where id = %s", other)
        gate.set()
        [job] = await stage.until_in("history", id)
        assert worker.id == me

    assert (job.generation, job.rescues) == (0, 0)
