"""Workers: each a claimer, a settler and a heart, on a session of its own.

An actor is a generator that yields deeds and is sent their results, or an error of ``core.errors``. What it does
between two deeds is what the loops of the product do there, in few words; the dice choose what comes next.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

from perdure.core.errors import ConnectionLost, DatabaseError, OwnershipLost
from perdure.core.op import Op
from perdure.fleet.ops import workers
from perdure.jobs import rules
from perdure.jobs.floors import Floor
from perdure.jobs.loops.claimer import Identity
from perdure.jobs.loops.recoverer import Recoverer
from perdure.jobs.ops import claim as claiming
from perdure.jobs.ops.settle import complete, hold
from perdure.jobs.work import Claimed, End, Lease, Verdict
from tests.sim.clerk import Clerk, Wire, driven
from tests.sim.deed import Deed, Script, World
from tests.sim.flows import FLOW, Activation, activate
from tests.sim.truth import Model, claimed, completed, nothing

VERDICTS: tuple[Verdict, ...] = ("completed", "retry", "snooze", "dead", "dead", "held", "returned", "cancelled")
ALONE: tuple[Verdict, ...] = ("completed", "retry", "crashed", "crashed", "deferred", "dead", "returned")
"""How jobs end that may have been running when their worker was lost, and run in a child of their own."""

LATE: tuple[Verdict, ...] = ("dead", "retry", "completed", "held", "held", "returned")
"""How what isn't its worker's any more ends where it is looked for: one for each statement that must refuse it."""


@dataclass(eq=False)
class Worker:
    """What a worker process has in its memory: it is gone with a crash. ``hands``: jobs that haven't ended; ``inside``:
    those whose handlers are in a transaction. To its recoverer it is the runner of its jobs."""

    number: int
    queue: int
    model: Model
    me: Identity = field(default_factory=Identity)
    hands: list[Claimed] = field(default_factory=list)
    inside: list[Claimed] = field(default_factory=list)
    paused: set[int] = field(default_factory=set)
    leases: dict[int, Lease] = field(default_factory=dict)
    leaving: bool = False
    recovers: bool = False

    def __post_init__(self) -> None:
        self.floor = Floor(tuple(self.queue * 4096 + priority for priority in range(10)))
        self.settler = Clerk(self.model, Wire(), lambda: self.me.worker, self.leases)
        self.recoverer = Recoverer(Wire(), self.me, self.settler, [self], self.leases)  # type: ignore[list-item]

    @property
    def id(self) -> int:
        """The worker's row; nought when it has none."""
        return self.me.worker

    def anew(self) -> Worker:
        """The process that is started in its place."""
        return Worker(self.number, self.queue, self.model)

    def lost(self) -> None:
        """Declared dead, or gone: it begins anew. What its handlers still do is nothing to anybody."""
        self.me.worker, self.leaving = 0, False
        self.settler.lose_all()
        self.floor.reset()

    def hears_of_a_loss(self, part: str) -> None:
        """That part of it would use its session next, and be told that the server behind it is gone."""
        if part.startswith("settler"):
            self.settler.cut()
        self.recovers = self.recovers or part.startswith("claimer")

    def in_hand(self) -> list[Claimed]:
        """Every job that hasn't ended here."""
        return [*self.inside, *self.hands]

    def take_back(self) -> list[Claimed]:
        """What may go back."""
        taken, self.hands = self.hands, []
        return taken

    def offer(self, jobs: Iterable[Claimed]) -> None:
        """Take these."""
        self.hands += jobs

    def stop_jobs(self, reason: str, ids: frozenset[int] | None = None) -> int:
        """Handlers in a transaction don't listen."""
        return 0


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
    worker.me.worker, worker.me.incarnation = yield Deed("register", op, nothing)


def claim(worker: Worker, limit: int, now: float | None) -> Generator[Deed | None, Any, bool]:
    """One claim at the floor. False when there is nothing more, as far as it looked."""
    id, op = worker.id, claiming.claim(worker.id, worker.me.incarnation, worker.queue, worker.floor, limit, now=now)
    batch: claiming.Batch | None = yield Deed("claim", op, claimed(worker.id, worker.me.incarnation))
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
    """What is mine? As the product finds it out; claims nobody heard of go back, lost leases are dropped."""
    worker.floor.reset()
    worker.recovers = False
    if worker.id:
        yield from driven(worker.recoverer.recover())
        worker.model.known.update(worker.leases.values())


def leave(worker: Worker) -> Script:
    """Leave once everything is settled; what isn't is open to rescue."""
    if worker.in_hand() or worker.settler.waiting:
        yield None
        return
    yield Deed("leave", workers.leave(worker.id), nothing)
    worker.lost()


def settler(world: World, worker: Worker) -> Script:
    """The product's settler; while it waits, what is in hand ends, in any order and in any way."""
    running = driven(worker.settler.run())
    try:
        deed = next(running)
        while deed is not None or not (world.over and worker.settler.idle):
            if deed is not None:
                try:
                    deed = running.send((yield deed))
                except DatabaseError as error:
                    deed = running.throw(error)
                continue
            if world.over or not (yield from _jobs_end(world, worker)):
                yield None
            if (deed := next(running)) is None:  # recovering comes first
                yield None
    finally:
        running.close()


def settle(worker: Worker) -> Script:
    """Settle whatever has ended, with nobody else about."""
    worker.settler.hurry()
    running = driven(worker.settler.run())
    deed = next(running)
    while worker.settler.waiting:
        deed = running.send((yield deed))
    running.close()


def _jobs_end(world: World, worker: Worker) -> Generator[Deed | None, Any, bool]:
    """Some jobs end, or those that were put aside are tried again. False when there is nothing to settle."""
    if (not worker.hands or world.dice.random() < 0.3) and worker.settler.hurry():
        return True
    jobs = late(world.model, worker) if world.plan.spite else []
    if not jobs:
        jobs = world.dice.sample(worker.hands, min(world.dice.choice((1, 2, 3, 3)), len(worker.hands)))
    ends = []
    try:
        for job in jobs:
            ends.append((yield from _ended(world, worker, job)))
    except DatabaseError as error:
        if isinstance(error, ConnectionLost):
            worker.settler.cut()  # if the server is gone, so is that of its own connection
        return False  # an activation that failed is begun again
    worker.hands = [job for job in worker.hands if job not in jobs]
    for end in ends:
        worker.settler.end(end)
    return bool(ends)


def _ended(world: World, worker: Worker, job: Claimed) -> Activation:
    """Whatever comes to the dice's mind; a run is driven as far as it goes."""
    if job.id in worker.paused:
        return rules.paused(job)
    if job.task == FLOW.task and world.dice.random() < 0.9:
        return (yield from activate(job))
    if world.plan.spite and job in late(world.model, worker):
        return end_of(job, world.dice.choice(LATE))
    return end_of(job, world.dice.choice(ALONE if is_suspect(job) else VERDICTS))


def late(model: Model, worker: Worker) -> list[Claimed]:
    """The jobs it has in hand that aren't its own any more."""
    jobs = model.truth.jobs
    return [job for job in worker.hands if job.id in jobs and jobs[job.id].generation != job.generation]


def is_suspect(job: Claimed) -> bool:
    """Whether it may have been running when a worker was lost."""
    return job.extras is not None and job.extras.rescues > 0


def handler(world: World, worker: Worker) -> Script:
    """Handlers that end with a transaction of their own: it holds the job, and is to commit with its end."""
    while not world.over:
        jobs = [job for job in worker.hands if job.task == "work" and job.extras is None and not job.cancelled]
        if not jobs:
            yield None
            continue
        job = world.dice.choice(jobs)
        worker.hands.remove(job)
        worker.inside.append(job)
        end = End(job, "completed", 1, 0.01, result="1")
        try:
            if (yield Deed("block", _block(end), completed(end), together=True)):
                end.written = "yes"
            else:
                end = rules.uncommitted(job, OwnershipLost("is gone"), elapsed=0.01, dice=0.5, at_most_once=False)
        except DatabaseError as error:
            end = rules.uncommitted(job, error, elapsed=0.01, dice=0.5, at_most_once=False)
        worker.inside.remove(job)
        worker.settler.end(end)


def _block(end: End) -> Op[bool]:
    try:
        yield from hold(end.job)
        yield from complete(end)
    except OwnershipLost:
        return False
    return True


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


def heart(world: World, worker: Worker) -> Script:
    """Beat; find out that others have declared it dead, and honour cancel requests."""
    while not world.over:
        slow = 0.95 if world.plan.spite and late(world.model, worker) else 0.5
        if worker.id == 0 or world.dice.random() < slow:  # to learn of its death, while it can do harm
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
            world.paused |= worker.paused
            for job in worker.hands:
                job.cancelled = job.cancelled or job.id in beat.cancels
