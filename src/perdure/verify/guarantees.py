"""Each guarantee as a function that puts it to the test, with a setup. It returns what it has seen, or raises
GuaranteeBroken."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias

from ..bench import ops
from ..bench.process import Crew, WorkerProcess, crew
from ..bench.stage import Stage
from ..bench.tasks import fail, hold, journey, noops, stamp
from ..core.errors import GuaranteeBroken
from ..fleet.model import Worker
from ..fleet.ops.workers import list_workers
from ..jobs.model import JobSpec
from ..jobs.ops import control
from ..jobs.ops.enqueue import enqueue
from ..pg.drive import drive
from ..runtime.clock import monotonic
from ..workflows.ops.start import start
from .setups import Setup

Check: TypeAlias = Callable[[Stage, Setup], Awaitable[str]]

CALLERS = 4
MANY = 400
BATCH = 10
FROZEN_JOBS_SECONDS = 1.0
UNTIL_SECONDS = 60.0
PAUSE_SECONDS = 0.05


async def atomic(stage: Stage, setup: Setup) -> str:
    """A job is enqueued with the caller's transaction, or not at all."""
    with stage.session() as conn:
        conn.execute("begin")
        drive(conn, enqueue(noops(3)), stage.schema)
        _expect(stage.run(ops.count()).job == 0, "jobs of an open transaction are seen by others")
        conn.execute("rollback")
        _expect(stage.run(ops.count()).job == 0, "a rollback has left jobs behind")
        drive(conn, enqueue(noops(3)), stage.schema)
    _expect(stage.queued(3), "committed jobs are missing")
    return "a rollback left nothing, a commit everything"


async def durable(stage: Stage, setup: Setup) -> str:
    """What was committed outlives the only worker there is."""
    async with crew(stage, **setup.options) as hired:
        victim = await hired.hire(slots=BATCH)
        stage.enqueue([hold.job(n=n, seconds=0.1) for n in range(5 * BATCH)])
        await hired.until(lambda: len(victim.stamps) > BATCH, "a few jobs have ended")
        await hired.dismiss(victim, signal.SIGKILL)
        await hired.hire(slots=BATCH)
        await _until(lambda: stage.run(ops.count()).history >= 5 * BATCH, "the next worker has ended every job")
    _finished(stage, await stage.finished(5 * BATCH))
    return f"kill -9 of the only worker: the next one ended what was left of {5 * BATCH} jobs"


async def unique(stage: Stage, setup: Setup) -> str:
    """Of callers who enqueue the same unique key at once, one job comes."""
    spec = noops(1)[0].options(unique="perdure verify")

    def enqueued() -> None:
        with stage.session() as conn:
            drive(conn, enqueue([spec]), stage.schema)

    await asyncio.gather(*[asyncio.to_thread(enqueued) for _ in range(CALLERS)])
    found = stage.run(ops.count()).job
    _expect(found == 1, f"{CALLERS} callers with one unique key have made {found} jobs")
    return f"{CALLERS} callers at once made one job"


async def exclusive(stage: Stage, setup: Setup) -> str:
    """A job is claimed by one worker, however many there are."""
    async with crew(stage, **setup.options) as hired:
        workers = [await hired.hire(), await hired.hire()]
        stage.enqueue([stamp.job(n=n) for n in range(MANY)])
        await _until(lambda: stage.run(ops.count()).history >= MANY, "every job has ended")
    # Only now: what they have told is read to its end when they have left.
    runs = sum(len(times) for worker in workers for times in worker.stamps.values())
    lost = stage.run(ops.count()).rescues  # a worker that the machine has stopped for seconds is taken for dead
    _expect(MANY <= runs <= MANY + lost, f"{MANY} jobs were run {runs} times by workers that were well")
    _finished(stage, await stage.finished(MANY))
    return f"two processes ran {MANY} jobs, each once"


async def expires(stage: Stage, setup: Setup) -> str:
    """What a killed worker held runs elsewhere, and nobody is charged for it."""
    async with crew(stage, **setup.options) as hired:
        victim, other = await _one_holds_all(stage, setup, hired)
        killed = monotonic()
        await hired.dismiss(victim, signal.SIGKILL)
        if setup.alone:
            other.begin()
        await _until(lambda: stage.run(ops.count()).history >= BATCH, "the jobs of a killed worker have ended")
        took = monotonic() - killed
    _finished(stage, await stage.finished(BATCH))
    _expect(stage.run(ops.count()).extra_attempts == 0, "a crash was charged to the jobs")
    return f"kill -9 of a worker with {BATCH} jobs: all done {took:.1f} s later, nobody charged"


async def stale(stage: Stage, setup: Setup) -> str:
    """A worker that was taken for dead and comes back ends nothing that is somebody else's by now."""
    async with crew(stage, **setup.options) as hired:
        frozen, _ = await _one_holds_all(stage, setup, hired)
        frozen.send(signal.SIGSTOP)
        try:
            await _until(lambda: stage.run(ops.count()).history >= BATCH, "the jobs of a frozen worker have ended")
        finally:
            frozen.send(signal.SIGUSR1)  # it will hear both at once, and try to end what it holds
            frozen.send(signal.SIGCONT)
        await _until(lambda: any("was declared dead" in line for line in frozen.said), "it notices")
        await _until(
            lambda: any("stale" in line for line in frozen.said) or _at_rest(stage), "its late ends are refused"
        )
    _finished(stage, await stage.finished(BATCH))
    return f"a frozen worker's {BATCH} jobs were ended by another, and it could end none of them again"


async def dead_letters(stage: Stage, setup: Setup) -> str:
    """A job that has used up its attempts is kept, with its last error."""
    stage.enqueue([fail.job(n=n) for n in range(3)])
    async with crew(stage, **setup.options) as hired:
        await hired.hire()
        await _until(lambda: len(_dead(stage)) >= 3, "three jobs are dead")
    found = {(attempt, "on purpose" in error) for attempt, error in _dead(stage)}
    _expect(found == {(2, True)}, f"dead jobs after two attempts each should say why: {found}")
    return "three jobs gave up after two attempts each, and say why"


async def drains(stage: Stage, setup: Setup) -> str:
    """A worker that is told to leave burns no attempt and lets no lease expire."""
    async with crew(stage, **setup.options) as hired:
        leaving, _ = await _one_holds_all(stage, setup, hired)
        leaving.send(signal.SIGTERM)
        await _until(lambda: any(row.state == "draining" for row in _rows(stage, leaving)), "it drains")
        code = await hired.dismiss(leaving, signal.SIGUSR1)
        await _until(lambda: stage.run(ops.count()).history >= BATCH, "every job has ended")
    found = stage.run(ops.count())
    _finished(stage, await stage.finished(BATCH))
    # Its own cost only: a mate that the machine has stopped for seconds is taken for dead, and that proves nothing.
    rows = _rows(stage, leaving)
    logs = [each for job in stage.run(control.list_jobs(limit=BATCH)) for each in stage.run(control.attempts(job.id))]
    rescues = sum(each.ending == "rescued" and each.worker in {row.id for row in rows} for each in logs)
    cost = found.extra_attempts + rescues + sum(row.state != "left" for row in rows)
    _expect(code == 0 and cost == 0, f"a SIGTERM ended with {code} and cost {cost} attempts, rescues or workers")
    return "SIGTERM in the middle of a batch: no attempt charged, nothing to rescue"


async def steps(stage: Stage, setup: Setup) -> str:
    """A workflow whose worker is killed goes on where it was; a step that was recorded doesn't run again."""
    spec = journey.run()
    async with crew(stage, **setup.options) as hired:
        victim, other = await hired.hire(blocked=True), await hired.hire(begin=False)
        stage.run(start(spec, ["perdure verify"], [spec.payload]))
        await hired.until(lambda: 1 in victim.stamps, "the second of three steps has begun")
        await hired.dismiss(victim, signal.SIGKILL)
        other.begin()
        await _until(lambda: stage.run(ops.count()).history >= 1, "the workflow has ended")
    begun = {number: len(times) for number, times in sorted(other.stamps.items())}
    _expect(begun == {1: 1, 2: 1}, f"killed in the second of three steps, it went on with (step: times) {begun}")
    _finished(stage, await stage.finished(1))
    return "kill -9 in the second of three steps: the first one didn't run again"


class Guarantee(NamedTuple):
    """The rung that promises it, and what puts it to the test."""

    stage: int
    check: Check


GUARANTEES: Mapping[str, Guarantee] = {
    "atomic": Guarantee(1, atomic),
    "durable": Guarantee(1, durable),
    "unique": Guarantee(2, unique),
    "expiry": Guarantee(2, expires),
    "dead letters": Guarantee(2, dead_letters),
    "exclusive": Guarantee(3, exclusive),
    "stale": Guarantee(5, stale),
    "drain": Guarantee(5, drains),
    "steps": Guarantee(7, steps),
}
"""Every guarantee that is checked, in the order of the ladder."""


def asked(setup: Setup) -> list[str]:
    """What such a system is promised."""
    return [name for name, each in GUARANTEES.items() if each.stage <= setup.stage and name != setup.without]


async def _one_holds_all(stage: Stage, setup: Setup, hired: Crew) -> tuple[WorkerProcess, WorkerProcess]:
    """A worker in the middle of a batch, and another one beside it; where there is one at a time, it waits to begin.
    The first one's batch doesn't end until it is sent SIGUSR1."""
    holder = await hired.hire(slots=BATCH, blocked=True)
    other = await hired.hire(begin=False)
    stage.enqueue(_batch())
    await hired.until(lambda: len(holder.stamps) >= BATCH, "a batch has begun")
    if not setup.alone:
        other.begin()
        await hired.until(lambda: other.started_at is not None, "another worker has begun")
    return holder, other


def _batch() -> list[JobSpec]:
    return [hold.job(n=n, seconds=FROZEN_JOBS_SECONDS) for n in range(BATCH)]


def _rows(stage: Stage, worker: WorkerProcess) -> list[Worker]:
    return [each for each in stage.run(list_workers()) if each.pid == worker.pid]


def _dead(stage: Stage) -> list[tuple[int, str]]:
    return [(job.attempt, job.error or "") for job in stage.run(control.list_jobs(place="dead", limit=10))]


def _at_rest(stage: Stage) -> bool:
    found = stage.run(ops.count())
    return found.lease == 0 and found.job == 0


def _finished(stage: Stage, well: bool) -> None:
    _expect(well, stage.problems[-1] if stage.problems else "the jobs don't add up")


def _expect(true: bool, problem: str) -> None:
    if not true:
        raise GuaranteeBroken(problem, field="perdure verify", fix="report it, with the server's version and settings")


async def _until(true: Callable[[], bool], what: str) -> None:
    deadline = monotonic() + UNTIL_SECONDS
    while not true():
        _expect(monotonic() < deadline, f"waited {UNTIL_SECONDS:g} s until {what}")
        await asyncio.sleep(PAUSE_SECONDS)
