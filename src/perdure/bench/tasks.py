"""What the workers of a benchmark run, and how they say so: a line of JSON on stdout per thing worth telling.

Times are of the monotonic clock, which the processes of one machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys

from ..app.registry import App
from ..core.backoff import Retry
from ..jobs.model import JobSpec
from ..runtime.clock import monotonic
from ..workflows.handle import Workflow

app = App("bench")

NOTE = "x" * 80
"""Fills a payload up to about a hundred bytes, the size the floor is measured with."""


road = asyncio.Event()
"""Whether what holds a slot, or the second leg of a journey, can end in this process: it can't in one that is going to
be killed, frozen or told to leave meanwhile, however late whoever does that may come."""
road.set()


def tell(**facts: object) -> None:
    """One line to the process that measures."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


@app.task
async def noop(order: int, note: str) -> None:
    """Nothing: what is left is the cost of the queue."""


@app.task
async def stamp(n: int) -> None:
    """Say when it started."""
    tell(stamp=n, at=monotonic())


@app.task
async def hold(n: int, seconds: float) -> None:
    """Say when it started, keep its slot for a while, and say when it ended."""
    tell(stamp=n, at=monotonic())
    await asyncio.sleep(seconds)
    await road.wait()
    tell(freed=n, at=monotonic())


@app.task(retry=Retry(max_attempts=2, delays=(0.0,)))
async def fail(n: int) -> None:
    """Fail, each time."""
    raise RuntimeError("it fails on purpose")


@app.task
async def nap(seconds: float) -> None:
    """Keep its slot for a while."""
    await asyncio.sleep(seconds)


def noops(count: int) -> list[JobSpec]:
    """Jobs that do nothing."""
    return [noop.job(order=order, note=NOTE) for order in range(count)]


FIVE = 5


async def nothing() -> None:
    """A step that does nothing."""


@app.workflow
async def five(wf: Workflow) -> None:
    """Five steps."""
    for number in range(FIVE):
        await wf.step(f"step {number}", nothing)


async def stamped(n: int) -> None:
    """Say when the step began."""
    tell(stamp=n, at=monotonic())


@app.workflow
async def first(wf: Workflow, n: int) -> None:
    """One step."""
    await wf.step("stamp", stamped, n)


@app.workflow
async def parked(wf: Workflow, n: int) -> None:
    """Wait for somebody, then one step."""
    await wf.signal("go")
    await wf.step("stamp", stamped, n)


async def leg(number: int) -> None:
    """A step that says that it began."""
    tell(stamp=number, at=monotonic())
    if number == 1:
        await road.wait()


@app.workflow
async def journey(wf: Workflow) -> None:
    """Three legs."""
    for number in range(3):
        await wf.step(f"leg {number}", leg, number)


@app.workflow
async def many(wf: Workflow, count: int) -> None:
    """As many steps as asked for, one after the other."""
    for _ in range(count):
        await wf.step("step", nothing)
