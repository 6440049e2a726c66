"""``history``: what finished jobs cost a claim. ``jobs``: the rows of history on one of two stages.

They claim by turns, because a machine that is slower for a while is so for both then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ..core.op import Op
from ..fleet.ops import workers
from ..jobs.floors import Floor as ClaimFloor
from ..jobs.ops import queues
from ..jobs.ops.claim import claim
from ..jobs.ops.settle import settle
from ..jobs.work import End
from ..pg.drive import drive
from ..pg.link import PLANS
from ..runtime.clock import monotonic
from . import ops
from .figures import Figure, Target, figure, percentile
from .floor import Floor
from .stage import QUEUE, Plan, R, Stage, staged
from .tasks import noops

CLAIM_JOBS = 100
CLAIMS = 400
FILL_ROWS = 250_000
PERCENTS = (50, 99)


async def history(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Time claims without finished jobs and beside them, by turns."""
    with staged(stage.url, stage.say, "empty") as other, _claimant(other) as without, _claimant(stage) as beside:
        payload = noops(1)[0].payload
        for first in range(0, plan.jobs, FILL_ROWS):
            stage.say(f"history: {first:,} of {plan.jobs:,} rows")
            beside.run(ops.fill_history(first + 1, min(first + FILL_ROWS, plan.jobs), payload))
        before = await floor.measure()
        for number in range(plan.rounds):
            stage.say(f"round {number + 1}: claims by turns")
            _by_turns(without, beside)
        after = await floor.measure()
        stage.problems.extend(other.problems)
    figures = [
        figure(
            f"claim of {CLAIM_JOBS} beside {plan.jobs:,} finished jobs, p{percent}",
            percentile(beside.all, percent),
            "ms",
            floor=percentile(without.all, percent),
            floor_is="the same with an empty history",
            target=Target("at most", 1.1, of="floor"),
            samples=[percentile(each, percent) for each in beside.rounds],
        )
        for percent in PERCENTS
    ]
    drift = figure("plain rows after it", after, "rows/s", floor=before, floor_is="plain rows before it: the drift")
    return [*figures, drift]


class Claimant:
    """Claims a backlog on one stage. ``rounds``: milliseconds of each claim."""

    def __init__(self, stage: Stage, conn: psycopg.Connection[tuple[object, ...]]) -> None:
        self.stage, self._conn = stage, conn
        self.rounds: list[list[float]] = []

    @property
    def all(self) -> list[float]:
        """Of all rounds."""
        return [each for found in self.rounds for each in found]

    def run(self, op: Op[R]) -> R:
        """Drive an op on the claims' connection."""
        return drive(self._conn, op, self.stage.schema)

    def begin(self) -> None:
        """A new backlog, and a worker to claim it."""
        self.stage.enqueue(noops(CLAIM_JOBS * CLAIMS))
        self.stage.settle_down()
        self._queue = self.run(queues.ensure([QUEUE]))[QUEUE]
        registered = workers.register(name="bench", host="bench", pid=0, slots=CLAIM_JOBS, queues=[QUEUE])
        self._worker, self._incarnation = self.run(registered)
        self._lanes = ClaimFloor(tuple(self._queue * 4096 + priority for priority in range(10)))
        self.rounds.append([])

    def claim(self) -> None:
        """Time one claim, and settle its jobs."""
        # No heart beats for it, and nobody is there who would declare it dead: a claim asks for the state alone.
        began = monotonic()
        batch = self.run(claim(self._worker, self._incarnation, self._queue, self._lanes, CLAIM_JOBS))
        self.rounds[-1].append((monotonic() - began) * 1e3)
        if batch is None:
            self.stage.problems.append("a claim found nothing in a backlog")
            return
        self._lanes.claimed(batch.highest, short=False)
        ends = [End(job, "completed", 1, 0.001) for job in batch.jobs]
        if self.run(settle(ends, self._worker, [batch.lease])):
            self.stage.problems.append("a settlement was stale")

    def end(self) -> None:
        """The worker leaves."""
        self.run(workers.leave(self._worker))


@contextmanager
def _claimant(stage: Stage) -> Iterator[Claimant]:
    with stage.session() as conn:
        for name, value in PLANS.items():
            conn.execute(f"set {name} = {value}".encode())
        yield Claimant(stage, conn)


def _by_turns(*claimants: Claimant) -> None:
    """A round of claims; who goes first changes each time."""
    for each in claimants:
        each.begin()
    for number in range(CLAIMS):
        for each in claimants if number % 2 else reversed(claimants):
            each.claim()
    for each in claimants:
        each.end()
