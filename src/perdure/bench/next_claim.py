"""A transaction that commits while every slot is busy: is its job taken by the next claim, or by a later one?"""

from __future__ import annotations

import asyncio

from ..core.errors import PerdureError
from ..jobs.ops.enqueue import enqueue
from ..pg.drive import apg
from . import ops
from .figures import Figure, Target, figure
from .process import Crew, WorkerProcess, crew
from .stage import Stage
from .tasks import hold, stamp

ROUNDS_MAX = 5
TRIES_MAX = 5
SLOTS = 2
BUSY_SECONDS = 0.4
OPEN_SECONDS = 0.05
OTHERS = 4
OTHER_SECONDS = 0.05
REST_SECONDS = 0.3
SETTLE_SECONDS = 30.0


async def next_claim(stage: Stage, rounds: int) -> tuple[list[Figure], int]:
    """Which claim after the commit took the job (1 is the next), the worst of the rounds; and how many jobs it took.

    The job is written first. Then every slot gets its work, from positions behind the job's, so that a claim has passed
    it. Then others come behind it, and only then it is committed: the next claim, for one freed slot, must take it.
    The floor is a job that nobody has passed: it is committed at once. No figure when the machine was too busy for it.
    """
    late: list[float] = []
    prompt: list[float] = []
    jobs = 0
    async with crew(stage) as hired:
        worker = await hired.hire(slots=SLOTS)
        first = 0
        for _ in range(rounds):
            for found, seconds in ((prompt, 0.0), (late, OPEN_SECONDS)):
                for _ in range(TRIES_MAX):
                    numbers = range(first, first + SLOTS + OTHERS + 1)
                    first = numbers.stop
                    jobs += len(numbers)
                    claims = await _claims(stage, hired, worker, numbers, seconds)
                    if claims is not None:
                        found.append(float(claims))
                        break
    if not late or not prompt:
        stage.say("the machine was too busy to fill every slot in time: which claim took the job isn't known")
        return [], jobs
    answer = figure(
        f"claims until a {OPEN_SECONDS * 1e3:.0f} ms transaction behind full slots is taken, worst",
        max(late),
        "claims",
        floor=max(prompt),
        floor_is="a job that is committed at once",
        target=Target("at most", 1.0),
        samples=late,
    )
    return [answer], jobs


async def _claims(stage: Stage, hired: Crew, worker: WorkerProcess, numbers: range, seconds: float) -> int | None:
    """How many claims it took. None when the machine was busy elsewhere, so that a slot was free before the commit."""
    job, fill, others = numbers[0], numbers[1 : SLOTS + 1], numbers[SLOTS + 1 :]
    await asyncio.sleep(REST_SECONDS)  # the worker forgets its pace, by which it claims beyond its slots
    async with stage.plain() as conn:
        transaction = conn.transaction()
        await transaction.start()
        if seconds:
            (id,) = await apg(conn, enqueue([stamp.job(n=job)]), stage.schema)
        stage.enqueue([hold.job(n=n, seconds=BUSY_SECONDS) for n in fill])
        await hired.stamped(fill)
        await asyncio.sleep(seconds)
        if not seconds:
            (id,) = await apg(conn, enqueue([stamp.job(n=job)]), stage.schema)
        stage.enqueue([hold.job(n=n, seconds=OTHER_SECONDS) for n in others])
        await transaction.commit()
    last = stage.run(ops.last_lease())
    in_time = not any(n in worker.freed for n in fill)
    await hired.stamped(numbers)
    await hired.until(lambda: all(n in worker.freed for n in (*fill, *others)), "the round's jobs have ended")
    claims = await _lease(stage, id) - last
    return claims if in_time and claims > 0 else None


async def _lease(stage: Stage, id: int) -> int:
    """The claim that took the job, which has started; it is known when the end is settled, a moment later."""
    for _ in range(int(SETTLE_SECONDS / 0.02)):
        if id in (found := stage.run(ops.leases([id]))):
            return found[id]
        await asyncio.sleep(0.02)
    raise PerdureError(f"job {id} has started and isn't settled after {SETTLE_SECONDS:g} s", field="bench")
