"""``enqueue``: what writing jobs costs. ``jobs``: in thousands at a time, in each round; the rest follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from ..app.client import AsyncClient, Client
from ..jobs.model import JobSpec
from ..runtime.clock import monotonic
from ..sql import compiled
from . import ops
from .figures import Figure, Target, figure, middle
from .floor import BATCH, INSERT, Floor
from .stage import Plan, Stage
from .tasks import NOTE, noop, noops

CALLERS = 100
SINGLES_MAX = 300
"""Single enqueues in a round, each beside a plain INSERT; a commit takes as long as the disk does."""

PLAIN_COMMIT = "plain INSERT + commit"
PLAIN_TRANSACTION = "plain INSERT in a transaction"
PLAIN_JOBS = "enqueue_many without keys"
PLAIN_HUNDREDS = f"plain INSERT in statements of {CALLERS}"


@dataclass(slots=True)
class Singles:
    """Milliseconds each, a plain row and a job in turn."""

    plain: list[float] = field(default_factory=list)
    job: list[float] = field(default_factory=list)

    def took(self, plain: Callable[[], object], job: Callable[[], object]) -> None:
        """Time one of each."""
        for act, samples in ((plain, self.plain), (job, self.job)):
            began = monotonic()
            act()
            samples.append((monotonic() - began) * 1e3)


@dataclass(slots=True)
class Samples:
    """What the rounds have found: jobs a second, milliseconds, microseconds. ``pairs``: microseconds for a job without
    a unique key, and for one with it."""

    many: list[float] = field(default_factory=list)
    made: list[float] = field(default_factory=list)
    pairs: list[tuple[float, float]] = field(default_factory=list)
    own: Singles = field(default_factory=Singles)
    shared: Singles = field(default_factory=Singles)
    tasks: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    hundreds: list[float] = field(default_factory=list)


async def enqueue(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Measure enqueue_many, single enqueues, and single enqueues of many callers at once."""
    specs, samples = noops(plan.jobs), Samples()
    with Client(stage.url, schema=stage.schema) as client:
        for number in range(1, plan.rounds + 1):
            for what, act in (
                ("the floor", lambda: floor.measure(plan.jobs)),
                ("in thousands", lambda: _many(stage, client, specs, samples)),
                ("in thousands, with unique keys", lambda: _unique(stage, client, specs, samples)),
                ("one at a time", lambda: _singles(stage, client, specs[:SINGLES_MAX], samples)),
                (f"{CALLERS} callers at once", lambda: _callers(stage, client, floor, specs, samples)),
            ):
                stage.say(f"round {number} of {plan.rounds}: {what}")
                await act()
    return _figures(samples, floor)


async def _many(stage: Stage, client: Client, specs: Sequence[JobSpec], samples: Samples) -> None:
    """In thousands: first jobs that are made already, as the floor's payloads are; then made on the way."""
    stage.clear()
    began = monotonic()
    for start in range(0, len(specs), BATCH):
        client.jobs.enqueue_many(specs[start : start + BATCH])
    samples.many.append(len(specs) / (monotonic() - began))
    stage.queued(len(specs))
    stage.clear()
    began = monotonic()
    for start in range(0, len(specs), BATCH):
        orders = range(start, min(start + BATCH, len(specs)))
        client.jobs.enqueue_many([noop.job(order=order, note=NOTE) for order in orders])
    samples.made.append(len(specs) / (monotonic() - began))
    stage.queued(len(specs))


async def _unique(stage: Stage, client: Client, specs: Sequence[JobSpec], samples: Samples) -> None:
    """Thousands without and with unique keys by turns, because one is compared with the other."""
    keyed = [spec.options(unique=f"order:{number}") for number, spec in enumerate(specs)]
    stage.clear()
    took = [0.0, 0.0]
    for start in range(0, len(specs), BATCH):
        for kind, jobs in enumerate((specs, keyed)):
            began = monotonic()
            client.jobs.enqueue_many(jobs[start : start + BATCH])
            took[kind] += (monotonic() - began) * 1e6 / len(specs)
    samples.pairs.append((took[0], took[1]))
    stage.queued(2 * len(specs))


async def _singles(stage: Stage, client: Client, specs: Sequence[JobSpec], samples: Samples) -> None:
    stage.clear()
    plain, payload = compiled(ops.ADD_FLOOR, stage.schema).encode(), specs[0].payload
    with stage.session() as conn:

        def insert(id: int) -> None:
            conn.execute(plain, {"id": id, "payload": payload})  # without the op's own few µs: a floor has none

        def insert_between(id: int) -> None:
            with conn.transaction():
                insert(id)

        def enqueue_between(spec: JobSpec) -> None:
            with client.transaction() as tx:
                tx.jobs.enqueue(spec)

        for id, spec in enumerate(specs):
            samples.own.took(partial(insert, 2 * id), partial(client.jobs.enqueue, spec))
            samples.shared.took(partial(insert_between, 2 * id + 1), partial(enqueue_between, spec))
    stage.queued(2 * len(specs))


async def _callers(stage: Stage, client: Client, floor: Floor, specs: Sequence[JobSpec], samples: Samples) -> None:
    """Each caller enqueues its share, one job after the other."""
    stage.clear()
    samples.hundreds.append(await floor.insert(len(specs), CALLERS) * 1e6 / len(specs))
    await floor.empty(len(specs))
    shares = [specs[number::CALLERS] for number in range(CALLERS)]
    async with AsyncClient(stage.url, schema=stage.schema) as awaited:

        async def call(share: Sequence[JobSpec]) -> None:
            for spec in share:
                await awaited.jobs.enqueue(spec)

        await awaited.jobs.enqueue(specs[0])  # connects
        began = monotonic()
        await asyncio.gather(*(call(share) for share in shares))
        samples.tasks.append((monotonic() - began) * 1e6 / len(specs))
    stage.queued(len(specs) + 1)
    stage.clear()
    with ThreadPoolExecutor(CALLERS) as threads:
        began = monotonic()
        list(threads.map(lambda share: [client.jobs.enqueue(spec) for spec in share], shares))
        samples.threads.append((monotonic() - began) * 1e6 / len(specs))
    stage.queued(len(specs))


def _figures(samples: Samples, floor: Floor) -> list[Figure]:
    def rate(name: str, found: Sequence[float], target: Target | None) -> Figure:
        return figure(
            name, middle(found), "jobs/s", floor=floor.insert_rate, floor_is=INSERT, target=target, samples=found
        )

    def single(name: str, found: Singles, floor_is: str, target: Target | None) -> Figure:
        return figure(name, middle(found.job), "ms", floor=middle(found.plain), floor_is=floor_is, target=target)

    def each(name: str, found: Sequence[float]) -> Figure:
        return figure(
            name, middle(found), "µs each", floor=middle(samples.hundreds), floor_is=PLAIN_HUNDREDS,
            target=Target("at most", 40.0), samples=found,
        )  # fmt: skip

    return [
        rate("enqueue_many, in thousands", samples.many, Target("at least", 0.6, "floor")),
        rate("enqueue_many, making the jobs included", samples.made, None),
        figure(
            "enqueue_many, each with a unique key",
            middle([keyed for _, keyed in samples.pairs]),
            "µs each",
            floor=middle([plain for plain, _ in samples.pairs]),
            floor_is=PLAIN_JOBS,
            target=Target("at most", 1.6, "floor"),
            samples=[keyed for _, keyed in samples.pairs],
        ),
        single("one enqueue, its own transaction", samples.own, PLAIN_COMMIT, Target("at most", 1.3, "floor")),
        single("one enqueue, the caller's transaction", samples.shared, PLAIN_TRANSACTION, None),
        each(f"{CALLERS} callers at once, on a loop", samples.tasks),
        each(f"{CALLERS} callers at once, in threads", samples.threads),
    ]
