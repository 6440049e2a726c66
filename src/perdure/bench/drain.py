"""``drain``: how fast a backlog of jobs that do nothing is worked off. ``jobs``: of one backlog."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ..jobs.model import JobSpec
from ..jobs.ops.enqueue import enqueue
from ..runtime.clock import monotonic
from .figures import Figure, Target, figure, middle
from .floor import BATCH, BOTH, Floor
from .machine import busy, ticks
from .process import Crew, crew
from .stage import Plan, Stage
from .tasks import noops

LARGE_SLOTS = 1_000
WARMING = 500
BUSY_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Drained:
    """One backlog: jobs a second, and the share of the cores' time that was work meanwhile, where it is known."""

    rate: float
    busy: float | None


async def drain(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Measure it with one worker, with large batches, with several workers, and with an enqueuer beside it."""
    specs = noops(plan.jobs)
    ways: dict[str, Callable[[], Awaitable[Drained]]] = {
        "one": lambda: backlog(stage, specs),
        "large": lambda: backlog(stage, specs, slots=LARGE_SLOTS),
        "several": lambda: backlog(stage, specs, processes=plan.processes),
        "beside": lambda: beside(stage, specs),
    }
    found: dict[str, list[Drained]] = {way: [] for way in ways}
    together: list[float] = []
    for number in range(1, plan.rounds + 1):
        stage.say(f"round {number} of {plan.rounds}: the floor")
        await floor.measure(plan.jobs)
        together.append(await floor.measure_together(plan.jobs))
        for way, act in ways.items():
            stage.say(f"round {number} of {plan.rounds}: {_SAID[way]}")
            found[way].append(await act())
    return _figures(found, floor, together, plan)


_SAID = {
    "one": "one worker",
    "large": f"one worker, {LARGE_SLOTS:,} slots",
    "several": "several workers",
    "beside": "enqueue and drain at once",
}


async def backlog(stage: Stage, specs: Sequence[JobSpec], *, processes: int = 1, slots: int | None = None) -> Drained:
    """Work off a backlog that was written while the queue was paused; timed from its resuming to the last commit."""
    stage.clear()
    async with crew(stage) as hired:
        for _ in range(processes):
            await _warm(stage, hired, slots)
        stage.pause()
        stage.enqueue(specs)
        stage.settle_down()
        before, began = ticks(), monotonic()
        stage.resume()
        jobs = WARMING * processes + len(specs)
        ended = await hired.settle(jobs)
        after = ticks()
    await stage.finished(jobs)
    return Drained(len(specs) / (ended - began), busy(before, after))


async def _warm(stage: Stage, hired: Crew, slots: int | None) -> None:
    """A worker that has connected and prepared its statements, which takes longer than some ten thousand jobs."""
    await hired.hire(slots=slots, watch=True)
    stage.enqueue(noops(WARMING))
    await hired.settle(WARMING * len(hired.workers))


async def beside(stage: Stage, specs: Sequence[JobSpec]) -> Drained:
    """Enqueue in thousands while a worker drains; timed from the first statement to the last commit."""
    stage.clear()

    def send() -> None:
        for start in range(0, len(specs), BATCH):
            stage.run(enqueue(specs[start : start + BATCH]))

    async with crew(stage) as hired:
        await _warm(stage, hired, None)
        before, began = ticks(), monotonic()
        await asyncio.to_thread(send)
        ended = await hired.settle(WARMING + len(specs))
        after = ticks()
    await stage.finished(WARMING + len(specs))
    return Drained(len(specs) / (ended - began), busy(before, after))


def _figures(found: dict[str, list[Drained]], floor: Floor, together: Sequence[float], plan: Plan) -> list[Figure]:
    rates = {way: [each.rate for each in rounds] for way, rounds in found.items()}
    shares = [each.busy for each in found["several"] if each.busy is not None]
    share = middle(shares) if shares else 0.0
    several = f"{plan.processes} processes"

    def against_floor(name: str, way: str, target: Target | None) -> Figure:
        return figure(
            name, middle(rates[way]), "jobs/s", floor=floor.rate, floor_is=BOTH, target=target, samples=rates[way]
        )

    made = [
        against_floor("one process, default settings", "one", Target("at least", 0.35, "floor")),
        against_floor("one process, large batches", "large", Target("at least", 0.45, "floor")),
        against_floor(several, "several", None),
        figure(
            f"{several} against one",
            middle(rates["several"]) / middle(rates["one"]),
            "times",
            floor=middle(together) / floor.rate,
            floor_is="two connections against one, plain",
            target=Target("at least", 1.15, unless=f"the cores are over {BUSY_SHARE:.0%} busy"),
            met_otherwise=share > BUSY_SHARE,
        ),
        against_floor("enqueue and drain at once", "beside", Target("at least", 0.25, "floor")),
    ]
    if shares and floor.busy:
        made.insert(
            4,
            figure(
                f"cores busy with {several}",
                100 * share,
                "%",
                floor=100 * middle(floor.busy),
                floor_is="during a plain INSERT",
                samples=[100 * each for each in shares],
            ),
        )
    return made
