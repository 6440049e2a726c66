"""What a worker's end costs the rate: many jobs in flight, one of two workers killed, another started in its place."""

from __future__ import annotations

import asyncio
import signal

from ..runtime.clock import monotonic
from . import ops
from .figures import Figure, Target, figure
from .process import crew
from .stage import Plan, Stage
from .tasks import nap

IN_FLIGHT_MAX = 1_000
NAP_SECONDS = 1.0
BEFORE_SECONDS = 3.0
WINDOW_SECONDS = 1.0
JOBS_PER_SLOT = 120
"""Enough for all tries."""
SHARE = 0.9
TRIES_MAX = 60


async def flood(stage: Stage, plan: Plan) -> Figure:
    """From the detection of the death until what is done in a second is 0.9 of before again.

    Everything that was in flight runs alone meanwhile, on the same machine.
    """
    slots = min(IN_FLIGHT_MAX, plan.jobs) // 2
    stage.clear()
    dead = stage.run(ops.count()).dead_workers
    async with crew(stage) as hired:
        victim, _ = await hired.hire(slots=slots), await hired.hire(slots=slots)
        relief = await hired.hire(slots=slots, begin=False)
        stage.enqueue([nap.job(seconds=NAP_SECONDS)] * (slots * JOBS_PER_SLOT))
        await asyncio.sleep(2 * NAP_SECONDS)
        before = await _rate(stage, BEFORE_SECONDS)
        await hired.dismiss(victim, signal.SIGKILL)
        relief.begin()
        while stage.run(ops.count()).dead_workers == dead:  # noqa: ASYNC110  # another process declares it
            await asyncio.sleep(0.1)
        detected, rate = monotonic(), 0.0
        for _ in range(TRIES_MAX):
            rate = await _rate(stage, WINDOW_SECONDS)
            if rate >= SHARE * before:
                break
        else:
            stage.problems.append(f"the rate was {before:.0f}/s before the kill, and {rate:.0f}/s a minute after it")
        return figure(
            f"kill -9 with {2 * slots:,} in flight until {SHARE} of the rate, after detection",
            monotonic() - detected,
            "s",
            floor=WINDOW_SECONDS,
            floor_is="the second in which a rate is measured",
            target=Target("at most", 15.0),
        )


async def _rate(stage: Stage, seconds: float) -> float:
    """Jobs that end in a second."""
    began, done = monotonic(), stage.run(ops.count()).history
    await asyncio.sleep(seconds)
    return (stage.run(ops.count()).history - done) / (monotonic() - began)
