"""Which benchmarks there are, how much each measures unless it is told, and one run from stage to report."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from ..pg.errors import translate
from ..runtime.clock import monotonic
from . import ops
from .bloat import bloat
from .crash import crash
from .drain import drain
from .enqueue import enqueue
from .figures import Figure, Report
from .floor import Floor, floored
from .history import history
from .latency import latency
from .parked import parking
from .soak import soak
from .stage import Plan, Stage, staged
from .steps import steps

Act: TypeAlias = Callable[[Stage, Floor, Plan], Awaitable[list[Figure]]]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What is measured, and how much of it by default: under a minute on two cores."""

    act: Act
    plan: Plan


BENCHMARKS = {
    "drain": Benchmark(drain, Plan(60_000, 3)),
    "enqueue": Benchmark(enqueue, Plan(40_000, 5)),
    "latency": Benchmark(latency, Plan(300, 3)),
    "bloat": Benchmark(bloat, Plan(160_000, 2)),
    "crash": Benchmark(crash, Plan(100_000, 4)),
    "history": Benchmark(history, Plan(1_000_000, 3)),
    "soak": Benchmark(soak, Plan(60, 1)),
    "parked": Benchmark(parking, Plan(100_000, 1)),
    "steps": Benchmark(steps, Plan(1_000, 3)),
}


def measure(
    name: str, url: str | None, say: Callable[[str], None], *, jobs: int | None = None, rounds: int | None = None
) -> Report:
    """Run a benchmark in the database of the URL (else $DATABASE_URL, else the embedded Postgres).

    ``jobs`` and ``rounds``: None for the benchmark's own. Raises InvalidOption, what ``staged`` raises, and
    PerdureError when a worker breaks or nothing moves any more. However it ends, no schema and no process is left.
    """
    benchmark = BENCHMARKS[name]
    said = {key: value for key, value in (("jobs", jobs), ("rounds", rounds)) if value is not None}
    plan = replace(benchmark.plan, **said)
    with staged(url, say) as stage:
        try:
            return asyncio.run(_measured(name, benchmark, stage, plan))
        except Exception as error:
            raise _ours(error) from error


def _ours(error: Exception) -> Exception:
    """What a person is told: the first error of several that fell over each other, in our own words."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return translate(error) or error


async def _measured(name: str, benchmark: Benchmark, stage: Stage, plan: Plan) -> Report:
    began = monotonic()
    async with floored(stage) as floor:
        figures = await benchmark.act(stage, floor, plan)
        return Report(
            benchmark=name,
            jobs=plan.jobs,
            rounds=plan.rounds,
            server=stage.run(ops.server()),
            cores=os.cpu_count() or 1,
            python=platform.python_version(),
            floor=floor.rates,
            figures=figures,
            problems=stage.problems,
            seconds=monotonic() - began,
        )
