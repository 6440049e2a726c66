"""``soak``: a worker under half of what it can drain, for ``jobs`` seconds: sizes must level off, latency stay flat.

What is compared is the last third of the time with the third before it, so a size that still grows shows, however
slowly, and the first minutes, in which tables find their size, don't count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..jobs.ops.enqueue import enqueue
from ..pg.drive import drive
from ..runtime.clock import monotonic
from . import ops
from .figures import Figure, Target, figure, percentile
from .floor import Floor
from .process import Crew, crew
from .stage import Plan, Stage
from .tasks import noops, stamp

TRIAL_JOBS_MAX = 60_000
TRIAL_JOBS_PER_SECOND = 2_000
SHARE = 0.5
TICK_SECONDS = 0.05
SAMPLES = 60
FLOOR_ROWS = 20_000
TABLES = ("job", "ready", "lease")


@dataclass(slots=True)
class Soaked:
    """What was seen: bytes and dead rows of each table, by sample, and when single jobs were sent, by their number."""

    sizes: list[dict[str, tuple[int, int]]] = field(default_factory=list)
    sent: dict[int, float] = field(default_factory=dict)
    enqueued: int = 0
    began: float = 0.0


async def soak(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Find what a worker drains, then let one work at half of that."""
    before = await floor.measure(FLOOR_ROWS)
    async with crew(stage) as hired:
        await hired.hire(watch=True)
        trial = min(TRIAL_JOBS_MAX, TRIAL_JOBS_PER_SECOND * plan.jobs)
        rate = await _trial(stage, hired, trial)
        found = await _soaked(stage, hired, rate * SHARE, float(plan.jobs))
        jobs = trial + found.enqueued + len(found.sent)
        await hired.settle(jobs)
        started = await hired.stamped(list(found.sent))
        if hired.settled != jobs:  # history itself has too many rows by now to be counted
            stage.problems.append(f"expected {jobs} settled jobs, found {hired.settled}")
    waits = [(started[n] - sent) * 1e3 for n, sent in sorted(found.sent.items())]
    after = await floor.measure(FLOOR_ROWS)
    worked = figure(
        f"jobs worked off, {plan.jobs} s at half of what it drains",
        found.enqueued / plan.jobs,
        "jobs/s",
        floor=rate,
        floor_is="what the worker drains at full speed, in the same run",
        target=Target("at least", SHARE * 0.95, of="floor"),
    )
    return [worked, *_sizes(found), *_waits(waits), _machine(before, after)]


async def _trial(stage: Stage, hired: Crew, jobs: int) -> float:
    """Jobs a second that the worker drains."""
    stage.say("what one worker drains")
    stage.pause()
    stage.enqueue(noops(jobs))
    began = monotonic()
    stage.resume()
    return jobs / (await hired.settle(jobs) - began)


async def _soaked(stage: Stage, hired: Crew, rate: float, seconds: float) -> Soaked:
    """Enqueue at that rate, and look at the tables now and then."""
    found = Soaked(began=monotonic())
    specs = noops(max(int(rate * TICK_SECONDS), 1))
    with stage.session() as beside:
        while (spent := monotonic() - found.began) < seconds:
            if spent >= len(found.sizes) * seconds / SAMPLES:
                found.sizes.append({name: (size, dead) for name, size, dead in stage.run(ops.sizes())})
                stage.say(f"{spent:.0f} of {seconds:.0f} s, {found.enqueued:,} jobs")
            due = int(rate * spent) - found.enqueued
            while due > 0:
                batch = specs[: min(due, len(specs))]
                await asyncio.to_thread(stage.enqueue, batch)
                found.enqueued, due = found.enqueued + len(batch), due - len(batch)
            number = len(found.sent)
            with beside.transaction():
                drive(beside, enqueue([stamp.job(n=number).options(priority=0)]), stage.schema)
                found.sent[number] = monotonic()
            await asyncio.sleep(TICK_SECONDS)
    return found


def _sizes(found: Soaked) -> list[Figure]:
    """The largest of the last third beside the largest of the third before it."""
    third = max(len(found.sizes) // 3, 1)
    return [
        figure(
            f"size of {name}, the last third's largest",
            max(sample[name][0] for sample in found.sizes[-third:]) / 2**20,
            "MiB",
            floor=max(sample[name][0] for sample in found.sizes[-2 * third : -third] or found.sizes) / 2**20,
            floor_is="the largest of the third before",
            target=Target("at most", 1.25, of="floor"),
            samples=[sample[name][0] / 2**20 for sample in found.sizes],
        )
        for name in TABLES
    ]


def _waits(waits: Sequence[float]) -> list[Figure]:
    """Single jobs of the first priority, from their commit to their start."""
    third = max(len(waits) // 3, 1)
    last, middle = waits[-third:], waits[-2 * third : -third] or waits
    return [
        figure(
            f"single job under it, commit to handler start, p{percent} of the last third",
            percentile(last, percent),
            "ms",
            floor=percentile(middle, percent),
            floor_is="the same of the third before",
            target=Target("at most", 1.25, of="floor") if percent == 99 else None,
        )
        for percent in (50, 99)
    ]


def _machine(before: float, after: float) -> Figure:
    return figure(
        "plain rows after it", after, "rows/s", floor=before, floor_is="plain rows before it: the machine's own drift"
    )
