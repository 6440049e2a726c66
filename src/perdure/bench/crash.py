"""``crash``: what a worker's end costs, and what it holds while it lives. ``jobs``: queued behind a busy worker."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from ..core.errors import PerdureError
from ..jobs.model import JobSpec
from ..runtime.clock import monotonic
from . import ops
from .figures import Figure, Target, figure, middle
from .flood import flood
from .floor import Floor
from .memory import memory
from .process import Crew, WorkerProcess, crew
from .stage import Plan, Stage
from .tasks import hold

BATCH = 50
"""Jobs of a worker that is ended: one batch, as large as the default slots."""

SHORT_SECONDS, LONG_SECONDS = 0.02, 1.5
"""Every third job is short, so that the batch is partly settled when its worker is ended."""

TRIES_MAX = 3

PLAIN_BATCH = f"plain INSERT + DELETE of {BATCH} rows"
NONE = "nothing"


@dataclass(slots=True)
class Ended:
    """Seconds from the kill until the first and the last job left of the batch run elsewhere, alone; seconds that a
    drain took."""

    rescued: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    extra_attempts: int = 0
    rescues: int = 0
    dead_workers: int = 0
    unclean: int = 0


async def crash(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Kill a worker in the middle of a batch, end another politely, and look at what a full one holds."""
    ended = Ended()
    for number in range(1, plan.rounds + 1):
        stage.say(f"round {number} of {plan.rounds}: the floor")
        await floor.measure()
        ended.plain.append(await floor.time(BATCH))
        stage.say(f"round {number} of {plan.rounds}: kill -9 in the middle of a batch")
        await _kill(stage, ended)
        stage.say(f"round {number} of {plan.rounds}: SIGTERM in the middle of a batch")
        await _terminate(stage, ended)
    stage.say("kill -9 with many jobs in flight")
    return [*_figures(ended), await flood(stage, plan), *await memory(stage, plan)]


async def _kill(stage: Stage, ended: Ended) -> None:
    for _ in range(TRIES_MAX):
        stage.clear()
        async with crew(stage) as hired:
            victim = await _in_the_middle(stage, hired, _batch())
            killed = monotonic()
            await hired.dismiss(victim, signal.SIGKILL)
            left = [n for n in range(BATCH) if n not in victim.freed]
            if left:
                started = await hired.stamped(left)
                ended.rescued.append(min(started.values()) - killed)
                ended.last.append(max(started.values()) - killed)
            await stage.finished(BATCH)
        if left:
            return
    raise PerdureError(
        f"{TRIES_MAX} times a worker had ended its batch before it could be killed",
        field="bench",
        fix="see what else keeps the machine busy",
    )


async def _terminate(stage: Stage, ended: Ended) -> None:
    """Twice the batch, so that some of the jobs haven't begun when the worker is told to go."""
    stage.clear()
    before = stage.run(ops.count()).dead_workers
    async with crew(stage) as hired:
        leaving = await _in_the_middle(stage, hired, [*_batch(), *_batch(BATCH)])
        told = monotonic()
        code = await hired.dismiss(leaving)
        ended.drained.append(monotonic() - told)
        ended.unclean += code != 0 or not leaving.clean
        await stage.finished(2 * BATCH)
    found = stage.run(ops.count())
    ended.extra_attempts += found.extra_attempts
    ended.rescues += found.rescues
    ended.dead_workers += found.dead_workers - before


async def _in_the_middle(stage: Stage, hired: Crew, specs: list[JobSpec]) -> WorkerProcess:
    """A worker that has begun a batch and hasn't ended its last job, and beside it another one that has just begun."""
    worker = await hired.hire()
    other = await hired.hire(begin=False)
    stage.enqueue(specs)
    await hired.until(lambda: len(worker.stamps) >= BATCH, "a batch has begun")
    other.begin()
    await hired.until(lambda: other.started_at is not None, "another worker has begun")
    return worker


def _batch(first: int = 0) -> list[JobSpec]:
    return [hold.job(n=n, seconds=LONG_SECONDS if n % 3 else SHORT_SECONDS) for n in range(first, first + BATCH)]


def _figures(ended: Ended) -> list[Figure]:
    def seconds(name: str, value: float, samples: list[float], target: Target | None) -> Figure:
        return figure(name, value, "s", floor=middle(ended.plain), floor_is=PLAIN_BATCH, target=target, samples=samples)

    def none(name: str, value: int, unit: str) -> Figure:
        return figure(name, value, unit, floor=0.0, floor_is=NONE, target=Target("at most", 0.0))

    return [
        seconds("kill -9 until its jobs run elsewhere, median", middle(ended.rescued), ended.rescued, None),
        seconds(
            "kill -9 until its jobs run elsewhere, worst", max(ended.rescued), ended.rescued, Target("at most", 5.0)
        ),
        seconds("kill -9 until the last of them does, worst", max(ended.last), ended.last, None),
        seconds("SIGTERM until the worker is gone, worst", max(ended.drained), ended.drained, None),
        none("SIGTERM, attempts burnt", ended.extra_attempts, "attempts"),
        none("SIGTERM, leases expired", ended.rescues + ended.dead_workers, "leases"),
        none("SIGTERM, workers that didn't leave cleanly", ended.unclean, "workers"),
    ]
