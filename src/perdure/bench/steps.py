"""``steps``: how fast workflows record their steps. ``jobs``: runs at a time, each of five steps that do nothing."""

from __future__ import annotations

import asyncio

from ..jobs.loops.journal import Journal
from ..pg.drive import apg
from ..pg.link import Link
from ..runtime.clock import monotonic, wall_clock
from ..workflows.loops.provider import RECORDS_MAX
from ..workflows.model import Entry, RunSpec
from ..workflows.ops.start import start
from . import ops
from .figures import Figure, Target, figure, middle
from .floor import Floor
from .process import crew
from .stage import QUEUE, START_ROWS, Plan, Stage
from .tasks import FIVE, five, many, noops

ALONE_STEPS = 300
WARMING = 200


async def steps(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Measure many runs at once in one process, and one run alone."""
    rates: list[float] = []
    alone: list[float] = []
    grouped: list[float] = []
    thousands: list[float] = []
    single: list[float] = []
    for number in range(1, plan.rounds + 1):
        stage.say(f"round {number} of {plan.rounds}: the floor")
        await floor.measure()
        grouped.append(await _grouped(stage, plan.jobs))
        thousands.append(await _plain(stage, plan.jobs, FIVE))
        single.append(await _plain(stage, 1, ALONE_STEPS))
        stage.say(f"round {number} of {plan.rounds}: {plan.jobs:,} workflows at once")
        rates.append(await _together(stage, plan.jobs))
        stage.say(f"round {number} of {plan.rounds}: one workflow alone")
        alone.append(await _alone(stage))
    return [
        figure(
            f"{plan.jobs:,} workflows at once, one process",
            middle(rates),
            "steps/s",
            floor=middle(grouped),
            floor_is="plain INSERTs of the same rows, group-committed for as many callers who each await theirs",
            target=Target("at least", 0.25, "floor"),
            samples=rates,
        ),
        figure(
            "the same, beside whole statements",
            middle(rates),
            "steps/s",
            floor=middle(thousands),
            floor_is="one plain INSERT of the same rows for each step of all of them",
            target=Target("at least", 10_000),
            samples=rates,
        ),
        figure(
            "one workflow alone, a step",
            1e3 / middle(alone),
            "ms",
            floor=1e3 / middle(single),
            floor_is="one plain INSERT and its commit",
            target=Target("at most", 1.5, "floor"),
            samples=[1e3 / each for each in alone],
        ),
    ]


def _step(run: int, number: int) -> Entry:
    """What a step that does nothing is recorded as."""
    now = round(wall_clock(), 6)
    return Entry(run, 0, f"step {number}", number, "step", "done", 1, now, now)


async def _grouped(stage: Stage, callers: int) -> float:
    """Rows a second, written by that many callers at once, five each, one after the other."""
    stage.clear()
    link = Link(stage.url, stage.schema, "settle")
    journal = Journal[Entry, None](link, ops.fill_steps, batch_max=RECORDS_MAX)
    writing = asyncio.create_task(journal.run())

    async def call(caller: int) -> None:
        for number in range(FIVE):
            await journal.put(_step(caller, number))

    try:
        await journal.put(_step(callers, 0))
        began = monotonic()
        await asyncio.gather(*map(call, range(callers)))
        return callers * FIVE / (monotonic() - began)
    finally:
        writing.cancel()
        await link.close()


async def _plain(stage: Stage, runs: int, steps: int) -> float:
    """Rows a second: what the steps of so many runs come to, one statement and one commit for a step of all of them."""
    stage.clear()
    async with stage.plain() as conn:
        await apg(conn, ops.fill_steps([_step(run, 0) for run in range(runs)]), stage.schema)
        began = monotonic()
        for number in range(1, steps + 1):
            await apg(conn, ops.fill_steps([_step(run, number) for run in range(runs)]), stage.schema)
        return runs * steps / (monotonic() - began)


async def _together(stage: Stage, runs: int) -> float:
    """Steps a second of that many runs, from the resuming of their queue to the last commit of an end."""
    stage.clear()
    async with crew(stage) as hired:
        await hired.hire(slots=runs, watch=True)
        stage.enqueue(noops(WARMING))
        await hired.settle(WARMING)
        stage.pause()
        _start(stage, five.run(), runs)
        stage.settle_down()
        began = monotonic()
        stage.resume()
        ended = await hired.settle(WARMING + runs)
    await stage.finished(WARMING + runs)
    return runs * FIVE / (ended - began)


async def _alone(stage: Stage) -> float:
    """Steps a second of one run that has nobody beside it."""
    stage.clear()
    async with crew(stage) as hired:
        await hired.hire(watch=True)
        _start(stage, many.run(20), 1)
        await hired.settle(1)
        began = monotonic()
        _start(stage, many.run(ALONE_STEPS), 1, "long")
        ended = await hired.settle(2)
    return ALONE_STEPS / (ended - began)


def _start(stage: Stage, spec: RunSpec, runs: int, name: str = "run") -> None:
    assert spec.queue == QUEUE
    for first in range(0, runs, START_ROWS):
        ids = [f"{name}:{number}" for number in range(first, min(first + START_ROWS, runs))]
        stage.run(start(spec, ids, [spec.payload] * len(ids)))
