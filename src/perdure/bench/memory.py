"""What a worker holds while its slots are full, and what a long queue behind them adds to it."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass

from ..core.errors import PerdureError
from ..runtime.clock import monotonic
from .figures import Figure, Target, figure
from .machine import cpu_seconds, rss_bytes
from .process import WorkerProcess, crew
from .stage import ENQUEUE_ROWS, Plan, Stage
from .tasks import hold, noops

IN_FLIGHT = 200
HOLD_SECONDS = 3_600.0
WATCH_SECONDS_MAX = 2.0
WATCH_SECONDS_PER_JOB = 0.001
SETTLE_SECONDS = 0.5
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Load:
    """A worker's memory in MB, and the processor time it takes, in ms a second."""

    megabytes: float
    cpu: float


async def memory(stage: Stage, plan: Plan) -> list[Figure]:
    """A worker with its slots full, with nothing and with ``plan.jobs`` queued behind them. It is killed afterwards:
    its jobs would never end. Empty where the machine doesn't tell."""
    stage.clear()
    watch = min(WATCH_SECONDS_MAX, WATCH_SECONDS_PER_JOB * plan.jobs)
    async with crew(stage) as hired:
        worker = await hired.hire(slots=IN_FLIGHT, begin=False)
        loaded = rss_bytes(worker.pid)
        if loaded is None:
            stage.say("this machine doesn't tell a process's memory")
            return []
        stage.say(f"memory with {IN_FLIGHT} jobs in flight")
        worker.begin()
        stage.enqueue([hold.job(n=n, seconds=HOLD_SECONDS) for n in range(IN_FLIGHT)])
        await hired.stamped(range(IN_FLIGHT))
        full = await _load(worker, watch)
        stage.say(f"memory with {plan.jobs:,} more queued")
        specs, left = noops(min(plan.jobs, ENQUEUE_ROWS)), plan.jobs
        while left:
            left -= len(stage.enqueue(specs[:left]))
            await asyncio.sleep(0)
        queued = await _load(worker, watch)
        await hired.dismiss(worker, signal.SIGKILL)
    return _figures(loaded / MEGABYTE, full, queued, plan.jobs)


async def _load(worker: WorkerProcess, seconds: float) -> Load:
    await asyncio.sleep(SETTLE_SECONDS)
    before, began = cpu_seconds(worker.pid), monotonic()
    await asyncio.sleep(seconds)
    after, held = cpu_seconds(worker.pid), rss_bytes(worker.pid)
    if before is None or after is None or held is None:
        raise PerdureError("\n".join(["a worker process is gone:", *worker.said]), field="bench")
    return Load(held / MEGABYTE, (after - before) * 1e3 / (monotonic() - began))


def _figures(loaded: float, full: Load, queued: Load, jobs: int) -> list[Figure]:
    return [
        figure(
            f"memory with {IN_FLIGHT} in flight", full.megabytes, "MB", floor=loaded,
            floor_is="the same process before it begins", target=Target("at most", 150.0),
        ),
        figure(
            f"memory with {jobs:,} more queued", queued.megabytes, "MB", floor=full.megabytes,
            floor_is="none queued", target=Target("at most", 1.05, "floor"),
        ),
        figure(
            f"processor with {jobs:,} more queued", queued.cpu, "ms/s", floor=full.cpu, floor_is="none queued",
        ),
    ]  # fmt: skip
