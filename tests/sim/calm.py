"""After the chaos: whoever is left works everything off, and then nothing may be left over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perdure.fleet.ops.workers import beat
from perdure.jobs.ops import chores, queues
from perdure.jobs.ops.pause import pause, sweep_pauses
from perdure.jobs.work import Claimed, End
from tests.sim.crew import VERDICTS, Worker, claim, end_of, is_suspect, recover, register, settle, tend
from tests.sim.deed import Deed, Script, World
from tests.sim.floors import check_start
from tests.sim.flows import FLOW, activate, send
from tests.sim.people import bury, let_on, redrive, rescue, stir, sweep
from tests.sim.stand import Session
from tests.sim.truth import Violation, nothing, paused, some

ROUNDS_MAX = 16
"""A job that was rescued ten times in a row waits up to a minute, each round is longer."""


async def wind_up(world: World, workers: Sequence[Worker], say: Callable[[str], None]) -> None:
    """Rescue, promote, release, claim, complete, round after round, by the workers that are left and with the floors
    they have. Raises Violation when something stays."""
    session = world.stand.alone
    await _play(world, session, _begin(world))
    for number in range(ROUNDS_MAX):
        await world.stand.jump(130.0)
        for worker in workers:
            if worker.leaving:
                worker.lost()  # it has drained, and works again as a new one
        await _play(world, session, _round(world, workers, float(number)))
        truth = world.model.truth
        left = truth.among("ready", "scheduled", "held", "leased", "waiting")
        say(f"round {number}: {len(left)} jobs to do, {len(truth.leases)} leases")
        # One that couldn't be dropped when its last job's own handler had settled it stays until its worker leaves.
        kept = {lease.id for worker in workers for lease in worker.leases.values() if not lease.left}
        if not left and truth.leases <= kept and not truth.requests and not truth.pauses:
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


def _begin(world: World) -> Script:
    """Nothing is paused any more, nobody waits for what isn't sent, and one that died is run again."""
    yield Deed("resume", queues.resume("default"), nothing)
    for id in sorted(world.paused & {*world.model.truth.among("held")} - world.model.truth.pauses.keys()):
        # Set aside for a pause that only a lost server knew of: whoever asked for it has to say so again.
        yield Deed(f"pause {id}", pause(id), paused, together=True)
    for id in sorted(world.model.truth.pauses):
        yield let_on(id)
    for flow in world.flows:
        yield send(flow)
    for id in world.model.truth.among("dead")[:1]:
        yield redrive(id)


def _round(world: World, workers: Sequence[Worker], now: float) -> Script:
    for worker in workers:
        if worker.recovers:
            yield from recover(worker)
        if worker.id and (yield Deed("beat", beat(worker.id))) is None:
            worker.lost()
        if not worker.id:
            yield from register(worker)
    yield from bury(world)
    yield from rescue(world)
    if world.model.truth.requests:
        yield from sweep()
    if world.model.truth.pauses:
        yield Deed("sweep_pauses", sweep_pauses(), paused, together=True)
    if world.model.truth.among("waiting"):
        yield from stir()
    if world.model.truth.among("scheduled"):
        yield Deed("promote", chores.promote(), some("promote"))
    if world.model.truth.among("held"):
        yield Deed("release", chores.release(["work"]), some("release"))
    for worker in workers:
        yield from tend(worker, now, 0.0)
        check_start(worker, world.model.truth)
    for worker in workers:
        while (yield from claim(worker, 50, None)):
            pass
        jobs, worker.hands = worker.hands, []
        for job in jobs:
            worker.settler.end((yield from activate(job)) if job.task == FLOW.task else _end(world, job))
        yield from settle(worker)


def _end(world: World, job: Claimed) -> End:
    """It completes; but what isn't its worker's any more may end as it likes, and a suspect may crash its child."""
    standing = world.model.truth.jobs.get(job.id)
    if standing is None or standing.generation != job.generation:
        return end_of(job, world.dice.choice(VERDICTS))
    return end_of(job, "crashed" if is_suspect(job) and world.dice.random() < 0.5 else "completed")
