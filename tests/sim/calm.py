"""After the chaos: whoever is left works everything off, and then nothing may be left over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from perdure.fleet.ops.workers import beat
from perdure.jobs.ops import chores, queues
from tests.sim.crew import Worker, again, claim, end_of, flush, register, tend
from tests.sim.deed import Deed, Script, World
from tests.sim.people import bury, rescue, sweep
from tests.sim.stand import Session
from tests.sim.truth import Truth, Violation, nothing, some

ROUNDS_MAX = 16
"""A job that was rescued ten times in a row waits up to a minute, each round is longer."""


class Part(Protocol):
    """An actor whose script is over."""

    worker: Worker | None


async def wind_up(world: World, parts: Sequence[Part], say: Callable[[str], None]) -> None:
    """Rescue, promote, release, claim, complete, round after round, by the workers that are left and with the floors
    they have. Raises Violation when something stays."""
    workers = list({id(part.worker): part.worker for part in parts if part.worker is not None}.values())
    session = world.stand.alone
    await _play(world, session, _resume())
    for number in range(ROUNDS_MAX):
        await world.stand.jump(130.0)
        for worker in workers:
            worker.flushing = False
            if worker.leaving:
                worker.lost()  # it has drained, and works again as a new one
        await _play(world, session, _round(world, workers, float(number)))
        truth = world.model.truth
        left = truth.among("ready", "scheduled", "held", "leased")
        say(f"round {number}: {len(left)} jobs to do, {len(truth.leases)} leases")
        if not left and not truth.leases and not truth.requests:
            return
    raise Violation(f"left over: {[(id, truth.jobs[id]) for id in left]}, leases {truth.leases}, {truth.requests}")


async def _play(world: World, session: Session, script: Script) -> None:
    """Each deed of the script, one statement after another, with nobody else about."""
    told = None
    while True:
        try:
            deed = script.send(told)
        except StopIteration:
            return
        if deed is None:
            raise Violation("somebody waits for somebody, and nobody is there")
        told = await _do(world, session, deed)


async def _do(world: World, session: Session, deed: Deed) -> object:
    op, rows = deed.op, None
    if deed.together:
        await session.conn.execute("begin")
    try:
        call = next(op)
        while True:
            await world.stand.send(session, call)
            if session.waits:
                raise Violation(f"{call.statement.name} waits, and nobody is there")
            rows = session.take()
            call = op.send(rows)
    except StopIteration as done:
        if deed.together:
            await session.conn.execute("commit")
        if deed.judge is not None and not deed.did_nothing(done.value):
            world.model.check(await world.stand.truth(), deed.judge, done.value)
        return done.value


def _check_floor(worker: Worker, truth: Truth) -> None:
    """Nobody else is about, and the worker has just looked for stragglers: its claims begin before all that is ready.
    The other workers' floors would hide one that is too high, by claiming what it has passed."""
    for lane, front in truth.fronts.items():
        if (start := worker.floor.start(lane)) >= front:
            raise Violation(f"worker {worker.id} claims lane {lane} after {start}, and {front} is ready")


def _resume() -> Script:
    yield Deed("resume", queues.resume("default"), nothing)


def _round(world: World, workers: Sequence[Worker], now: float) -> Script:
    for worker in workers:
        if worker.id and (yield Deed("beat", beat(worker.id))) is None:
            worker.lost()
        if not worker.id:
            yield from register(worker)
    yield from bury(world)
    yield from rescue(world)
    yield from sweep()
    yield Deed("promote", chores.promote(), some("promote"))
    yield Deed("release", chores.release(["work"]), some("release"))
    for worker in workers:
        yield from tend(worker, now, 0.0)
        _check_floor(worker, world.model.truth)
    for worker in workers:
        while (yield from claim(worker, 50, None)):
            pass
        yield from tend(worker, now + 0.5, 0.0)
        if worker.blocked:
            yield from again(world, worker)
        while worker.hands:
            jobs, worker.hands = worker.hands[:20], worker.hands[20:]
            yield from flush(world, worker, [end_of(job, "completed") for job in jobs])
