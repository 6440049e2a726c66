"""``latency``: how soon a job starts. ``jobs``: single jobs for an idle worker, the stragglers follow from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ..core.op import Op
from ..jobs.ops.enqueue import enqueue
from ..runtime.clock import monotonic
from . import ops
from .bell import PLAIN_NOTIFY, Bell, hung
from .figures import Figure, Target, figure, percentile
from .floor import Floor
from .process import Crew, crew
from .stage import Plan, Stage
from .stragglers import between, straggle
from .tasks import stamp

PAUSE_SECONDS = (0.02, 0.08)
"""Between two singles: the worker has gone to sleep again, and no rhythm meets its polls."""

STRAGGLERS_MAX = 20
QUIET_SECONDS_MAX = 10.0
QUIET_SECONDS_PER_JOB = 0.05
QUIET_LOOK_SECONDS = 0.005
QUIET_SETTLE_SECONDS = 4.0
"""A worker that has just begun still makes the days of history and finds its floors."""


async def latency(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Measure singles for an idle worker, stragglers under load, and what an idle worker asks the server."""
    span = min(QUIET_SECONDS_MAX, QUIET_SECONDS_PER_JOB * plan.jobs)
    async with crew(stage) as hired:
        await hired.hire()
        stage.say(f"what an idle worker asks, {QUIET_SETTLE_SECONDS + span:.1f} s")
        await asyncio.sleep(QUIET_SETTLE_SECONDS)
        statements = await asked(stage, span)
        for number in range(1, plan.rounds + 1):
            stage.say(f"round {number} of {plan.rounds}: the floor")
            await floor.measure()
        async with hung(stage, floor) as bell:
            singles = await _singles(stage, hired, bell, plan.jobs)
        await stage.finished(plan.jobs)
        async with hung(stage, floor) as beside:
            stage.say("transactions that commit late, under load")
            late, committed = await straggle(stage, hired, beside, plan.jobs, min(plan.jobs, STRAGGLERS_MAX))
        await stage.finished(plan.jobs + committed)
    return [
        *spread("idle worker, commit to handler start", singles, bell, ((50, 3.0), (99, 15.0), (100, None))),
        *spread("under load, late commit to handler start", late, beside, ((50, None), (100, 250.0))),
        figure(
            "idle worker, statements",
            round(statements, 2),
            "1/s",
            floor=0.0,
            floor_is="nothing",
            target=Target("at most", 2.0),
        ),
    ]


def spread(name: str, samples: Sequence[float], bell: Bell, wanted: Sequence[tuple[int, float | None]]) -> list[Figure]:
    """The percentiles of milliseconds beside the bell's own; 100 is called the worst. None when there is no sample."""
    return [
        figure(
            f"{name}, {'worst' if percent == 100 else f'p{percent}'}",
            percentile(samples, percent),
            "ms",
            floor=percentile(bell.samples, percent),
            floor_is=PLAIN_NOTIFY,
            target=None if bound is None else Target("at most", bound),
            samples=sorted(samples),
        )
        for percent, bound in wanted
        if samples and bell.samples
    ]


async def _singles(stage: Stage, hired: Crew, bell: Bell, jobs: int) -> list[float]:
    found = []
    for number in range(jobs):
        if number % 50 == 0:
            stage.say(f"single jobs for an idle worker: {number} of {jobs}")
        found.append(await lag(stage, hired, bell, number, enqueue([stamp.job(n=number)])))
    return found


async def lag(stage: Stage, hired: Crew, bell: Bell, number: int, op: Op[object]) -> float:
    """Milliseconds from the sending of the op's commit, so with the disk's share of it, to the first line of what it
    sets going on an idle worker, which is stamped with the number."""
    await bell.ring()
    await asyncio.sleep(between(PAUSE_SECONDS))
    with stage.conn.transaction():
        stage.run(op)
        sent = monotonic()
    started = await hired.stamped([number])
    return (started[number] - sent) * 1e3


async def asked(stage: Stage, seconds: float) -> float:
    """Statements a second of all other sessions in the schema; what one is asked within 5 ms counts as one."""
    before, began, asked = stage.run(ops.sessions()), monotonic(), 0
    while (now := monotonic()) < began + seconds:
        await asyncio.sleep(QUIET_LOOK_SECONDS)
        found = stage.run(ops.sessions())
        asked += changes(before, found)
        before |= found
    return asked / (now - began)


def changes(before: Mapping[int, float], found: Mapping[int, float]) -> int:
    """How many sessions have been asked something since, by the moments of their last statements."""
    return sum(before.get(pid) != at for pid, at in found.items())
