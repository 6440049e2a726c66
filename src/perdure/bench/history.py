"""``history``: what finished jobs cost a claim. ``jobs``: the rows of history, which the second half claims beside."""

from __future__ import annotations

import psycopg

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
from .figures import Figure, Target, figure, middle, percentile
from .floor import Floor
from .stage import QUEUE, Plan, Stage
from .tasks import noops

CLAIM_JOBS = 100
CLAIMS = 400
FILL_ROWS = 250_000
PERCENTS = (50, 99)


async def history(stage: Stage, floor: Floor, plan: Plan) -> list[Figure]:
    """Time claims without finished jobs, then with them."""
    with stage.session() as conn:
        for name, value in PLANS.items():
            conn.execute(f"set {name} = {value}".encode())
        without = [_claims(stage, conn, f"round {number + 1}: an empty history") for number in range(plan.rounds)]
        before = await floor.measure()
        payload = noops(1)[0].payload
        for first in range(0, plan.jobs, FILL_ROWS):
            stage.say(f"history: {first:,} of {plan.jobs:,} rows")
            drive(conn, ops.fill_history(first + 1, min(first + FILL_ROWS, plan.jobs), payload), stage.schema)
        stage.settle_down()
        beside = [_claims(stage, conn, f"round {number + 1}: beside it") for number in range(plan.rounds)]
        after = await floor.measure()
    figures = []
    for percent in PERCENTS:
        now, then = ([percentile(each, percent) for each in rounds] for rounds in (beside, without))
        figures.append(
            figure(
                f"claim of {CLAIM_JOBS} beside {plan.jobs:,} finished jobs, p{percent}",
                middle(now),
                "ms",
                floor=middle(then),
                floor_is="the same with an empty history",
                target=Target("at most", 1.1, of="floor"),
                samples=now,
            )
        )
    drift = figure("plain rows after it", after, "rows/s", floor=before, floor_is="plain rows before it: the drift")
    return [*figures, drift]


def _claims(stage: Stage, conn: psycopg.Connection[tuple[object, ...]], what: str) -> list[float]:
    """Milliseconds of each claim of a backlog, whose jobs are settled between the claims."""
    stage.say(what)
    stage.enqueue(noops(CLAIM_JOBS * CLAIMS))
    stage.settle_down()
    queue = drive(conn, queues.ensure([QUEUE]), stage.schema)[QUEUE]
    registered = workers.register(name="bench", host="bench", pid=0, slots=CLAIM_JOBS, queues=[QUEUE])
    worker, incarnation = drive(conn, registered, stage.schema)
    lanes = ClaimFloor(tuple(queue * 4096 + priority for priority in range(10)))
    taken = []
    for _ in range(CLAIMS):
        # No heart beats for it, and nobody is there who would declare it dead: a claim asks for the state alone.
        began = monotonic()
        batch = drive(conn, claim(worker, incarnation, queue, lanes, CLAIM_JOBS), stage.schema)
        taken.append((monotonic() - began) * 1e3)
        if batch is None:
            stage.problems.append("a claim found nothing in a backlog")
            break
        lanes.claimed(batch.highest, short=False)
        ends = [End(job, "completed", 1, 0.001) for job in batch.jobs]
        if drive(conn, settle(ends, worker, [batch.lease]), stage.schema):
            stage.problems.append("a settlement was stale")
    drive(conn, workers.leave(worker), stage.schema)
    return taken
