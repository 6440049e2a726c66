"""``parked``: what runs that wait cost, how soon one starts or is woken, and how long a replay takes. ``jobs``: the
runs that are parked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..core.errors import PerdureError
from ..runtime.clock import monotonic
from ..runtime.dice import seeded
from ..workflows.check import replayed
from ..workflows.model import RunSpec
from ..workflows.ops.inbox import signal
from ..workflows.ops.record import load
from ..workflows.ops.start import find, start
from . import ops
from .bell import Bell, hung
from .figures import Figure, Target, figure, middle
from .floor import Floor
from .latency import asked, lag, spread
from .machine import rss_bytes
from .memory import MEGABYTE
from .process import Crew, WorkerProcess, crew
from .stage import COUNT_SECONDS, START_ROWS, Plan, Stage
from .tasks import first, many, parked

SINGLES_MAX = 200
WOKEN_MAX = 200
STEPS_MAX = 1_000
REPLAYS = 20
SHARE = 10
"""Memory is compared with that of the worker when it had parked one run in so many."""

PARK_SECONDS_MAX = 900.0
LOOK_SECONDS = 0.1
QUIET_SECONDS = 10.0
SETTLE_SECONDS = 4.0
QUIET_SETTLE_SECONDS_MAX = 10.0
"""A worker that has just parked many still raises the floors of what it has gone through."""


async def parking(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Measure starts on an idle worker, park the runs, wake some, and replay a long history."""
    for number in range(1, plan.rounds + 1):
        stage.say(f"round {number} of {plan.rounds}: the floor")
        await floor.measure()
    singles, woken = min(plan.jobs, SINGLES_MAX), min(plan.jobs, WOKEN_MAX)
    async with crew(stage) as hired:
        worker = await hired.hire()
        async with hung(stage, floor) as bell:
            started = await _starts(stage, hired, bell, singles)
        found = spread("idle worker, start to first step", started, bell, ((50, 10.0), (99, None)))
        few = max(plan.jobs // SHARE, 1)
        await _park(stage, 0, few)
        before = _held(worker)
        await _park(stage, few, plan.jobs)
        await asyncio.sleep(min(QUIET_SETTLE_SECONDS_MAX, SETTLE_SECONDS + plan.jobs / 1_000))
        found += [*_memory(before, _held(worker), plan.jobs), _leases(stage, plan.jobs)]
        stage.say(f"what the worker asks with {plan.jobs:,} runs parked")
        statements = await asked(stage, min(QUIET_SECONDS, plan.jobs / 100))
        found.append(_statements(statements, plan.jobs))
        async with hung(stage, floor) as beside:
            waking = await _wakes(stage, hired, beside, plan.jobs, woken)
        name = f"one of {plan.jobs:,} parked runs, signal to its next step"
        found += spread(name, waking, beside, ((50, None), (99, None)))
        await _counted(stage, plan.jobs - woken, singles + woken)
        steps = min(plan.jobs, STEPS_MAX)
        found.append(await _replay(stage, steps, singles + woken + 1))
    return found


async def _starts(stage: Stage, hired: Crew, bell: Bell, count: int) -> list[float]:
    """The lags between the start of a run and its first step."""
    found = []
    for number in range(count):
        if number % 50 == 0:
            stage.say(f"single runs for an idle worker: {number} of {count}")
        spec = first.run(number)
        found.append(await lag(stage, hired, bell, number, start(spec, [f"first:{number}"], [spec.payload])))
    return found


async def _park(stage: Stage, low: int, high: int) -> None:
    """Start runs of these numbers, and wait until all of them wait."""
    stage.say(f"parking {high:,} runs")
    for begin in range(low, high, START_ROWS):
        numbers = range(begin, min(begin + START_ROWS, high))
        specs: list[RunSpec] = [parked.run(_stamp(number)) for number in numbers]
        stage.run(start(specs[0], [_name(number) for number in numbers], [spec.payload for spec in specs]))
        await asyncio.sleep(0)
    found, so = await _until(stage, PARK_SECONDS_MAX, lambda found: found.waiting >= high and not found.held)
    if not so:
        raise PerdureError(f"only {found.waiting:,} of {high:,} runs are parked", field="bench")


async def _wakes(stage: Stage, hired: Crew, bell: Bell, parked_runs: int, count: int) -> list[float]:
    """The lags between a signal and the step that follows."""
    stage.say(f"waking {count} of them")
    found = []
    for each in range(count):
        number = each * (parked_runs // count)
        found.append(await lag(stage, hired, bell, _stamp(number), signal(_name(number), "go", "1", None)))
    return found


async def _replay(stage: Stage, steps: int, completed: int) -> Figure:
    """Read the history of a run with so many steps, and replay it, as a worker does that goes on with it."""
    stage.say(f"replaying {steps:,} steps")
    spec = many.run(steps)
    stage.run(start(spec, ["long"], [spec.payload]))
    _, so = await _until(stage, PARK_SECONDS_MAX, lambda found: found.completed >= completed)
    if not so:
        raise PerdureError(f"a run of {steps:,} steps didn't end", field="bench")
    job = stage.run(find(["long"]))["long"].job
    reading, whole = list[float](), list[float]()
    for _ in range(REPLAYS):
        began = monotonic()
        [history] = stage.run(load([job], activates=False))
        reading.append((monotonic() - began) * 1e3)
        assert not isinstance(history, Exception)
        if (problem := replayed(many, history, spec.payload, seeded)) is not None:
            stage.problems.append(f"the replay of {steps:,} steps went astray: {problem}")
        whole.append((monotonic() - began) * 1e3)
    return figure(
        f"replay of {steps:,} steps, read and run", middle(whole), "ms", floor=middle(reading),
        floor_is="reading its rows", target=Target("at most", 100.0), samples=whole,
    )  # fmt: skip


async def _counted(stage: Stage, waiting: int, completed: int) -> None:
    """Note what doesn't add up: every run that was started waits still, or has completed."""
    wanted = (waiting, 0, completed)
    found, so = await _until(stage, COUNT_SECONDS, lambda found: (found.waiting, found.held, found.completed) == wanted)
    if not so:
        stage.problems.append(f"expected {waiting:,} parked runs and {completed:,} completed ones, found {found}")


async def _until(stage: Stage, seconds: float, so: Callable[[ops.Parked], bool]) -> tuple[ops.Parked, bool]:
    """How the runs stand as soon as that is so, or when the time is over; and whether it is so."""
    deadline = monotonic() + seconds
    while not so(found := stage.run(ops.parked())):
        if monotonic() > deadline:
            return found, False
        await asyncio.sleep(LOOK_SECONDS)
    return found, True


def _memory(before: float | None, after: float | None, runs: int) -> list[Figure]:
    if before is None or after is None:
        return []
    return [
        figure(
            f"memory with {runs:,} runs parked", after, "MB", floor=before, floor_is=f"one in {SHARE} of them parked",
            target=Target("at most", 1.05, "floor"),
        )
    ]  # fmt: skip


def _leases(stage: Stage, runs: int) -> Figure:
    return figure(
        f"leases held by {runs:,} parked runs", float(stage.run(ops.parked()).held), "jobs", floor=0.0,
        floor_is="nothing", target=Target("at most", 0.0),
    )  # fmt: skip


def _statements(found: float, runs: int) -> Figure:
    return figure(
        f"idle worker with {runs:,} runs parked, statements", round(found, 2), "1/s", floor=0.0, floor_is="nothing",
        target=Target("at most", 2.0),
    )  # fmt: skip


def _held(worker: WorkerProcess) -> float | None:
    found = rss_bytes(worker.pid)
    return None if found is None else found / MEGABYTE


def _name(number: int) -> str:
    return f"parked:{number}"


def _stamp(number: int) -> int:
    return SINGLES_MAX + number
