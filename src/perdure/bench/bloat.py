"""``bloat``: what a held snapshot costs. ``jobs``: churned beneath it, in chunks, in each round.

A session holds a snapshot and a transaction id, so that nothing that is deleted can be cleaned up. Each round churns
the same jobs once without that session and once under it, and the last round looks at stragglers and new workers there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from psycopg import IsolationLevel

from ..jobs.model import JobSpec
from ..pg.drive import drive
from ..runtime.clock import monotonic
from . import ops
from .bell import hung
from .figures import Figure, Target, figure, middle
from .floor import BOTH, Floor
from .latency import spread
from .next_claim import ROUNDS_MAX, next_claim
from .process import Crew, crew
from .stage import Plan, Stage
from .stragglers import straggle
from .tasks import noops, stamp

CHUNK_MAX = 20_000
CHUNKS_MIN = 4
FRESH = -1
"""The number of the job that waits for a new worker."""

STRAGGLERS_MAX = 20


@dataclass(slots=True)
class Churned:
    """What the rounds have found with or without the session that holds on: jobs a second, seconds."""

    chunks: list[list[float]] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    fresh: list[float] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Of all chunks."""
        return [rate for chunks in self.chunks for rate in chunks]

    @property
    def last_rates(self) -> list[float]:
        """Of the last quarter of each round's chunks."""
        return [rate for chunks in self.chunks for rate in chunks[-max(len(chunks) // 4, 1) :]]


async def bloat(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Measure the drain with and without the snapshot, then what comes late, and who comes late, beneath it."""
    specs = noops(min(CHUNK_MAX, max(plan.jobs // CHUNKS_MIN, 1)))
    chunks = max(plan.jobs // len(specs), 1)
    clean, held = Churned(), Churned()
    late: list[Figure] = []
    for number in range(1, plan.rounds + 1):
        last = number == plan.rounds

        async def come_late(hired: Crew) -> int:
            return await _come_late(stage, floor, hired, late, plan)

        for found, beneath in ((clean, False), (held, True)):
            how = "under a held snapshot" if beneath else "clean"
            stage.say(f"round {number} of {plan.rounds}: {len(specs) * chunks:,} jobs {how}")
            then = come_late if beneath and last else None
            await _churn(stage, floor, specs, chunks, found, beneath, then)
    return [*_figures(clean, held, floor, len(specs) * chunks), *late]


async def _churn(
    stage: Stage,
    floor: Floor,
    specs: Sequence[JobSpec],
    chunks: int,
    found: Churned,
    beneath: bool,
    then: Callable[[Crew], Awaitable[int]] | None,
) -> None:
    stage.clear()
    stage.settle_down()
    rates, jobs = [], 0
    with _holding(stage) if beneath else nullcontext():
        async with crew(stage) as hired:
            worker = await hired.hire(watch=True)
            for _ in range(chunks):
                stage.pause()
                stage.enqueue(specs)
                began, jobs = monotonic(), jobs + len(specs)
                stage.resume()
                rates.append(len(specs) / (await hired.settle(jobs) - began))
            if then is not None:
                jobs += await then(hired)
            else:
                await hired.dismiss(worker)
            found.fresh.append(await _fresh(stage, hired))
        await stage.finished(jobs + 1)
        found.plain.append(await floor.measure(len(specs)))
    found.chunks.append(rates)


async def _fresh(stage: Stage, hired: Crew) -> float:
    """Seconds from the beginning of a loaded worker, its connecting included, to the start of a job that waits."""
    stage.enqueue([stamp.job(n=FRESH)])
    worker = await hired.hire(begin=False)
    began = monotonic()
    worker.begin()
    return (await hired.stamped([FRESH]))[FRESH] - began


async def _come_late(stage: Stage, floor: Floor, hired: Crew, late: list[Figure], plan: Plan) -> int:
    """Measure what comes late, with the crew's workers, who go home then; how many jobs it took."""
    stage.say("transactions that commit late, under load and under the snapshot")
    async with hung(stage, floor) as bell:
        found, jobs = await straggle(stage, hired, bell, 0, min(plan.jobs, STRAGGLERS_MAX))
    for worker in list(hired.workers):  # the next part has one of its own, with few slots
        await hired.dismiss(worker)
    late += spread("under it, late commit to handler start", found, bell, ((50, None), (100, 250.0)))
    stage.say("a 50 ms transaction that commits while every slot is busy")
    taken, more = await next_claim(stage, min(plan.jobs, ROUNDS_MAX))
    late += taken
    return jobs + more


@contextmanager
def _holding(stage: Stage) -> Iterator[None]:
    """A session that holds a snapshot and a transaction id."""
    with stage.session() as conn:
        conn.isolation_level = IsolationLevel.REPEATABLE_READ
        with conn.transaction():
            drive(conn, ops.hold(), stage.schema)
            drive(conn, ops.look_on(), stage.schema)
            yield


def _figures(clean: Churned, held: Churned, floor: Floor, churned: int) -> list[Figure]:
    own_share = middle(held.plain) / middle(clean.plain)

    def rate(name: str, found: Churned) -> Figure:
        return figure(name, middle(found.rates), "jobs/s", floor=floor.rate, floor_is=BOTH, samples=found.rates)

    def share(name: str, under: Sequence[float], without: Sequence[float]) -> Figure:
        return figure(
            name, middle(under) / middle(without), "times", floor=own_share, floor_is="the same of the plain rows",
            target=Target("at least", 0.9),
        )  # fmt: skip

    return [
        rate("drain, clean", clean),
        rate("drain, under a held snapshot and xid", held),
        share("under it against clean", held.rates, clean.rates),
        share("under it against clean, the last quarter", held.last_rates, clean.last_rates),
        figure(
            f"a new worker after {churned:,} churned jobs, begin to start",
            max(held.fresh),
            "s",
            floor=middle(clean.fresh),
            floor_is="the same without the snapshot",
            target=Target("at most", 1.0),
            samples=held.fresh,
        ),
    ]
