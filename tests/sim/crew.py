"""Workers: each a claimer, a settler and a heart, on a session of its own.

An actor is a generator that yields deeds and is sent their results, or an error of ``core.errors``. What it does
between two deeds is what the loops of the product do there, in few words; the dice choose what comes next.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from perdure.core.errors import ConnectionLost, DatabaseError, LockTimeout
from perdure.core.op import Op
from perdure.fleet.ops import workers
from perdure.jobs import rules
from perdure.jobs.floors import Floor
from perdure.jobs.ops import claim as claiming
from perdure.jobs.ops import settle as settling
from perdure.jobs.ops.leases import leases
from perdure.jobs.work import Claimed, End, Lease, Verdict
from tests.sim.deed import Deed, Script, World
from tests.sim.flows import FLOW, Activation, activate
from tests.sim.truth import Judge, Model, claimed, nothing, settled

VERDICTS: tuple[Verdict, ...] = ("completed", "retry", "snooze", "dead", "dead", "held", "returned", "cancelled")
ALONE: tuple[Verdict, ...] = ("completed", "retry", "crashed", "crashed", "deferred", "dead", "returned")
"""How jobs end that may have been running when their worker was lost, and run in a child of their own."""


@dataclass(eq=False)
class Worker:
    """What a worker process has in its memory: it is gone with a crash."""

    number: int
    queue: int
    id: int = 0
    incarnation: int = 0
    asked: int = 0
    hands: list[Claimed] = field(default_factory=list)
    blocked: list[End] = field(default_factory=list)
    paused: set[int] = field(default_factory=set)
    leases: dict[int, Lease] = field(default_factory=dict)
    flushing: bool = False
    leaving: bool = False

    def __post_init__(self) -> None:
        self.floor = Floor(tuple(self.queue * 4096 + priority for priority in range(10)))

    def lost(self) -> None:
        """Declared dead, or gone: it begins anew. What its handlers still do ends late, and may be stale."""
        self.id, self.leaving = 0, False
        self.leases.clear()
        self.floor.reset()


def claimer(world: World, worker: Worker) -> Script:
    """Register, claim, look after the floor; recover after a lost connection; begin anew when declared dead."""
    while not world.over:
        try:
            yield from _claim_round(world, worker)
        except ConnectionLost:
            yield from recover(worker)
        except DatabaseError:
            worker.floor.failed()
            yield None


def _claim_round(world: World, worker: Worker) -> Script:
    dice = world.dice
    if worker.id == 0:
        yield from register(worker)
    elif worker.leaving:
        yield from leave(worker)
    elif dice.random() < 0.35:
        yield from tend(worker, world.stand.now, dice.choice((0.0, 0.2)))
    elif len(worker.hands) < 6:
        now = None if dice.random() < 0.5 else world.stand.now
        yield from claim(worker, dice.choice((1, 2, 3, 5)), now)
    else:
        yield None


def register(worker: Worker) -> Script:
    """Become a worker that others know."""
    op = workers.register(name=f"w{worker.number}", host="h", pid=worker.number, slots=5, queues=["default"])
    worker.id, worker.incarnation = yield Deed("register", op, nothing)


def claim(worker: Worker, limit: int, now: float | None) -> Generator[Deed | None, Any, bool]:
    """One claim at the floor. False when there is nothing more, as far as it looked."""
    id, op = worker.id, claiming.claim(worker.id, worker.incarnation, worker.queue, worker.floor, limit, now=now)
    batch: claiming.Batch | None = yield Deed("claim", op, claimed(worker.id, worker.incarnation))
    if worker.id != id:
        return False  # declared dead meanwhile: the lease is open to rescue
    if batch is None:
        return not worker.floor.claimed({}, short=True)
    lease = batch.jobs[0].lease
    worker.leases[lease.id] = lease
    worker.hands += batch.jobs
    return not worker.floor.claimed(batch.highest, short=len(batch.jobs) < limit)


def tend(worker: Worker, now: float, lag: float) -> Script:
    """List the writers, then probe what the floor asks."""
    holders = yield Deed("writers", claiming.writers(), reads=True)
    if ranges := worker.floor.listed(holders, now, lag):
        worker.floor.probed((yield Deed("probe", claiming.probe(ranges), reads=True)))


def recover(worker: Worker) -> Script:
    """What is mine? A new incarnation, then the leases; claims nobody heard of go back, lost leases are dropped."""
    worker.floor.reset()
    while worker.id:
        id = worker.id
        try:
            worker.asked += 1
            incarnation = yield Deed("reincarnate", workers.reincarnate(id, worker.asked), nothing)
            while worker.flushing:
                yield None
            if incarnation is None or worker.id != id:
                return
            worker.incarnation, worker.flushing = incarnation, True
            try:
                held = yield Deed("leases", leases(id), reads=True)
            finally:
                worker.flushing = False
        except DatabaseError:
            yield None
            continue
        if worker.id == id:
            _reconcile(worker, {each.lease: each.jobs for each in held})
        return


def _reconcile(worker: Worker, held: dict[int, tuple[tuple[int, int], ...]]) -> None:
    for lease in worker.leases.keys() - held.keys():
        worker.leases.pop(lease).lost = True
    worker.hands = [job for job in worker.hands if not job.lease.lost]
    worker.blocked = [end for end in worker.blocked if not end.job.lease.lost]
    for number in sorted(held.keys() - worker.leases.keys()):
        found = worker.leases[number] = Lease(number, len(held[number]))
        worker.hands += [_unknown(id, generation, found) for id, generation in held[number]]


def _unknown(id: int, generation: int, lease: Lease) -> Claimed:
    """A job of a claim nobody heard of: all that is done with it is to give it back."""
    raw = msgspec.Raw(b"{}")
    return Claimed(id, generation, lease, 1, "", raw, None)  # type: ignore[arg-type]  # nobody asks when it was made


def leave(worker: Worker) -> Script:
    """Leave once everything is settled; what isn't is open to rescue."""
    if worker.hands or worker.blocked or worker.flushing:
        yield None
        return
    yield Deed("leave", workers.leave(worker.id), nothing)
    worker.lost()


def settler(world: World, worker: Worker) -> Script:
    """Ends of what is in hand, in any order and of any kind, one flush at a time."""
    while not world.over:
        if worker.flushing or not (worker.hands or worker.blocked):
            yield None
            continue
        if worker.blocked and (not worker.hands or world.dice.random() < 0.5):
            yield from again(world, worker)
            continue
        count = min(world.dice.choice((1, 2, 3, 3)), len(worker.hands))
        jobs = world.dice.sample(worker.hands, count)
        worker.flushing = True
        try:
            ends = []
            for job in jobs:
                ends.append((yield from _ended(world, worker, job)))
            worker.hands = [job for job in worker.hands if job not in jobs]
            yield from flush(world, worker, ends)
        except DatabaseError:
            yield None  # an activation that failed is begun again
        finally:
            worker.flushing = False


def _ended(world: World, worker: Worker, job: Claimed) -> Activation:
    """Whatever comes to the dice's mind; a run is driven as far as it goes."""
    if job.id in worker.paused:
        return rules.paused(job)
    if job.task == FLOW.task and world.dice.random() < 0.9:
        return (yield from activate(job))
    return end_of(job, world.dice.choice(ALONE if is_suspect(job) else VERDICTS))


def is_suspect(job: Claimed) -> bool:
    """Whether it may have been running when a worker was lost."""
    return job.extras is not None and job.extras.rescues > 0


def again(world: World, worker: Worker) -> Script:
    """The ends that were put aside, because somebody had locked their jobs."""
    ends, worker.blocked = worker.blocked, []
    worker.flushing = True
    try:
        yield from flush(world, worker, ends, free=True)
    finally:
        worker.flushing = False


def end_of(job: Claimed, verdict: Verdict) -> End:
    """The end as the runner would make it: what it was told when it was claimed comes first."""
    if not job.task or job.cancelled or job.expired:
        verdict = "returned" if not job.task else "cancelled" if job.cancelled else "expired"
    if job.task == FLOW.task:
        verdict = "returned"  # what else a run does is its driver's matter
    started = verdict in ("completed", "retry", "dead", "crashed")
    details: dict[str, dict[str, Any]] = {
        "dead": {"reason": "exhausted"},
        "held": {"reason": "unknown_task", "key": "work"},
        "returned": {"reason": "drained"},
        "retry": {"delay": 1.0},
        "snooze": {"delay": 60.0},
        "crashed": {"delay": 1.0, "text": "its child was killed"},
        "deferred": {"delay": 2.0, "text": "no child was free"},
        "completed": {"result": "1"},
    }
    return End(job, verdict, int(started), 0.01, **details.get(verdict, {}))


def flush(world: World, worker: Worker, ends: list[End], *, free: bool = False) -> Script:
    """Settle these, whatever it takes, as the settler does. ``free``: leave alone what somebody else has locked."""
    for end in ends:
        end.job.lease.left -= 1
    emptied = {end.job.lease.id: end.job.lease for end in ends if end.job.lease.left == 0}
    doubtful = free  # what was put aside was sent before, and perhaps it arrived
    blocked: list[End] = []
    while True:
        empty = [number for number, lease in emptied.items() if lease.left == 0]
        try:
            if free:
                op: Op[Any] = settling.settle_free(ends, worker.id, empty)
                stale, blocked = yield Deed("settle_free", op, _settled_free(ends), together=True)
            else:
                op = settling.settle(ends, worker.id, empty)
                stale = yield Deed("settle", op, settled(ends), together=rules.several(ends))
            if doubtful and stale:
                known = yield Deed("traced", settling.traced(stale), reads=True)
                stale = [end for end in stale if end not in known]
            break
        except LockTimeout:
            free = True
        except DatabaseError as error:
            doubtful = doubtful or isinstance(error, ConnectionLost)
            yield None
    world.model.concluded([end for end in ends if end not in blocked], stale)
    for end in blocked:
        end.job.lease.left += 1
    worker.blocked += blocked
    for number, lease in emptied.items():
        if lease.left == 0:
            worker.leases.pop(number, None)


def _settled_free(ends: list[End]) -> Judge:
    def judge(model: Model, after: Any, result: tuple[list[End], list[End]]) -> Any:
        return settled([end for end in ends if end not in result[1]])(model, after, result[0])

    return judge


def heart(world: World, worker: Worker) -> Script:
    """Beat; find out that others have declared it dead, and honour cancel requests."""
    while not world.over:
        if worker.id == 0 or world.dice.random() < 0.5:
            yield None
            continue
        id = worker.id
        try:
            if world.dice.random() < world.plan.drain and not worker.leaving:
                worker.leaving = True
                yield Deed("drain", workers.drain(id), nothing)
            beat = yield Deed("beat", workers.beat(id))
        except DatabaseError:
            continue
        if worker.id != id:
            continue
        if beat is None:
            worker.lost()
        else:
            worker.paused |= {*beat.pauses}
            for job in worker.hands:
                job.cancelled = job.cancelled or job.id in beat.cancels
