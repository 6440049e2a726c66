"""What the tables say, and what they may say next: the model, in plain Python.

Between two readings one transaction has committed. So whatever differs is its doing, and must be exactly the moves its
op has answered for, each of them legal by ``jobs/states.py``, with the generation and the attempts that move has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from perdure.jobs.ops.claim import Batch
from perdure.jobs.ops.rescue import Rescue
from perdure.jobs.states import LEGAL, Act, targets
from perdure.jobs.work import End, Lease
from perdure.workflows.model import Started

COLUMNS: Mapping[str, tuple[str, str]] = {
    "job": ("id, generation, attempt, rescues, lane, pos, run_at", "perdure.job"),
    "ready": ("id, lane, pos", "perdure.ready"),
    "scheduled": ("id, run_at", "perdure.scheduled"),
    "leased": (
        "t.id, t.generation, l.id, l.worker",
        "perdure.lease l, unnest(l.jobs, l.generations) as t(id, generation)",
    ),
    "held": ("id", "perdure.held"),
    "dead": ("id", "perdure.dead"),
    "history": ("id, generation, attempt, rescues", "perdure.history_default"),
    "worker": ("id, state, incarnation", "perdure.worker"),
    "waiting": ("id", "perdure.waiting"),
    "request": ("id", "perdure.cancel_request"),
    "pause": ("id, resumed", "perdure.pause"),
}
"""What is read of the tables, and from where: what ends long ago, by the stand's clock, is in no day's partition."""


def _arrays(columns: str, source: str) -> str:
    return f"(select {', '.join(f'array_agg({each})' for each in columns.split(', '))} from {source})"


TABLES = "select * from " + " cross join ".join(f"{_arrays(*each)} as {kind}" for kind, each in COLUMNS.items())
"""One row: an array for each column, null for that of an empty table. A row for each row is four times as dear."""

ACT_OF_VERDICT: Mapping[str, Act] = {
    "completed": "complete",
    "cancelled": "cancel",
    "expired": "expire",
    "dead": "bury",
    "held": "park",
    "returned": "give_back",
    "retry": "retry",
    "snooze": "snooze",
    "waiting": "wait",
    "crashed": "isolate",
    "deferred": "isolate",
}


class Violation(AssertionError):
    """Something is true that must never be."""


class Standing(NamedTuple):
    """Where a job stands; ``lease`` and ``worker`` while it is leased."""

    place: str
    generation: int
    attempt: int
    rescues: int
    lease: int | None = None
    worker: int | None = None


class Expected(NamedTuple):
    """A move that an op answers for, and the attempts it charges. ``then``: a second move, in the same transaction."""

    act: Act
    charge: int = 0
    then: Act | None = None


@dataclass
class Truth:
    """One reading of the tables. ``ready``: positions by lane. ``workers``: their states and incarnations. ``pauses``:
    whether each was resumed."""

    jobs: dict[int, Standing] = field(default_factory=dict)
    workers: dict[int, tuple[str, int]] = field(default_factory=dict)
    requests: set[int] = field(default_factory=set)
    pauses: dict[int, bool] = field(default_factory=dict)
    leases: set[int] = field(default_factory=set)
    ready: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, arrays: Iterable[Sequence[Any] | None]) -> Truth:
        """From the one row of ``TABLES``. Raises Violation when a job stands in no place, or in two, or a place holds
        what has no body."""
        each: Iterator[Any] = iter(arrays)
        tables = {
            kind: list(zip(*(next(each) or () for _ in columns.split(", ")), strict=True))
            for kind, (columns, _) in COLUMNS.items()
        }
        self = cls({id: Standing("history", *rest) for id, *rest in tables["history"]})
        self.workers = {id: (state, incarnation) for id, state, incarnation in tables["worker"]}
        self.requests = {id for (id,) in tables["request"]}
        self.pauses = dict(tables["pause"])
        bodies = {body[0]: body for body in tables["job"]}
        for id, lane, pos in tables["ready"]:
            self._stands("ready", id, bodies)
            if (lane, pos) != bodies[id][4:6]:
                raise Violation(f"job {id}: ready at another position than its body says")
            self.ready.setdefault(lane, []).append(pos)
        for positions in self.ready.values():
            positions.sort()  # the rows of a copy lie in another order
        for id, moment in tables["scheduled"]:
            self._stands("scheduled", id, bodies)
            if moment != bodies[id][6]:
                raise Violation(f"job {id}: scheduled for another moment than its body says")
        for id, generation, lease, worker in tables["leased"]:
            self.leases.add(lease)
            if id in bodies and bodies[id][1] == generation:
                self._stands("leased", id, bodies, lease, worker)
        for place in ("held", "dead", "waiting"):
            for (id,) in tables[place]:
                self._stands(place, id, bodies)
        if len(self.jobs) != len(bodies) + len(tables["history"]):
            raise Violation(f"stand in no place, or are finished twice: {bodies.keys() - self.jobs.keys()}")
        return self

    def _stands(self, place: str, id: int, bodies: Mapping[int, Any], *leased: int) -> None:
        if id not in bodies:
            raise Violation(f"job {id}: a row of {place} that belongs to no body")
        if id in self.jobs:
            raise Violation(f"job {id} stands in {self.jobs[id].place} and in {place}")
        self.jobs[id] = Standing(place, *bodies[id][1:4], *leased)

    def among(self, *places: str) -> list[int]:
        """The jobs that stand in one of these places, in ascending order."""
        return sorted(id for id, standing in self.jobs.items() if standing.place in places)

    def alive(self, worker: int | None, *states: str) -> bool:
        """Whether the worker's row is in one of these states."""
        return worker is not None and worker in self.workers and self.workers[worker][0] in states


Judge = Callable[["Model", Truth, Any], dict[int, Expected]]
"""What an op answers for, by its result: given the model, the tables after it, and the result."""


@dataclass
class Model:
    """What has been seen so far. ``claims``: every (job, generation) that was ever claimed. ``settled``: how each
    (job, generation) was settled. ``given``: the numbers of all leases. A server that takes over knows of no more than
    it has of these. ``known``: the leases that workers know of; ``unknown``: those that this server never gave."""

    truth: Truth = field(default_factory=Truth)
    claims: set[tuple[int, int]] = field(default_factory=set)
    settled: dict[tuple[int, int], str] = field(default_factory=dict)
    given: set[int] = field(default_factory=set)
    known: set[Lease] = field(default_factory=set)
    unknown: set[Lease] = field(default_factory=set)

    def copy(self) -> Model:
        """What a standby knows that hears of nothing after this."""
        return Model(self.truth, {*self.claims}, {**self.settled}, {*self.given})

    def taken_over(self, standby: Model, after: Truth) -> None:
        """The server is the standby now, and its tables are these. What it lacks has never been: what was claimed may
        be claimed again, what was settled hasn't been, and what it never gave isn't anybody's."""
        if after != standby.truth:
            raise Violation("the standby isn't as it was saved")
        self.truth, self.claims = standby.truth, {*standby.claims}
        self.settled, self.given = {**standby.settled}, {*standby.given}
        self.unknown |= {lease for lease in self.known if lease.id not in self.given}
        self.known -= self.unknown

    def check(self, after: Truth, judge: Judge, result: Any) -> None:
        """One transaction has committed, whose op had this result. Raises Violation."""
        before, expected = self.truth, judge(self, after, result)
        for id, (_, incarnation) in after.workers.items():
            if id in before.workers and incarnation < before.workers[id][1]:
                raise Violation(f"worker {id}: its incarnation went back from {before.workers[id][1]} to {incarnation}")
        if not before.jobs.keys() <= after.jobs.keys():
            raise Violation(f"lost: jobs {sorted(before.jobs.keys() - after.jobs.keys())}")
        moved = {id for id, standing in after.jobs.items() if before.jobs.get(id) != standing}
        if moved != expected.keys():
            raise Violation(f"{_moves(before, after, moved)} have moved, but the op answers for {sorted(expected)}")
        for id in moved:
            _check_move(id, before.jobs.get(id), after.jobs[id], expected[id])
        self.truth = after

    def concluded(
        self, ends: Iterable[End], stale: Collection[End], traced: Mapping[tuple[int, int], str] | None
    ) -> None:
        """A worker believes that of these ends the stale ones weren't settled, and the others were. ``traced``: what
        was settled when it looked for traces; what it has given up for lost may arrive and be settled after that."""
        for end in ends:
            known = traced if traced is not None and end.job.lease.lost and end in stale else self.settled
            verdict = known.get((end.job.id, end.job.generation))
            ours = verdict == end.verdict or (end.written != "no" and verdict == "completed")
            if end.job.lease in self.unknown:  # what another has settled may have the same numbers
                ours = end not in stale and verdict is not None
            if ours is (end in stale):
                told = "stale" if end in stale else "settled"
                raise Violation(f"job {end.job.id}: its worker takes its {end.verdict} end for {told}, it is {verdict}")


def _moves(before: Truth, after: Truth, ids: Iterable[int]) -> str:
    return ", ".join(f"{id} ({before.jobs.get(id)} -> {after.jobs[id]})" for id in sorted(ids)) or "no jobs"


def _check_move(id: int, was: Standing | None, now: Standing, expected: Expected) -> None:
    act, charge, then = expected
    place: Any = was.place if was else None
    bumps = 0
    if then is not None:  # by way of the one place that leads there
        between = next(iter(targets(place, act)))
        bumps, place, act = LEGAL[place, act, between].bumps, between, then
    move = LEGAL.get((place, act, now.place))  # type: ignore[arg-type]
    if move is None:
        raise Violation(f"job {id}: {was} -> {now} is no move of {act}")
    generation = was.generation if was else 0
    if now.generation != generation + move.bumps + bumps:
        raise Violation(f"job {id}: {act} took its generation from {generation} to {now.generation}")
    attempt = 0 if act == "redrive" else (was.attempt if was else 0) + charge
    if now.attempt != attempt:
        raise Violation(f"job {id}: {act} left it with {now.attempt} attempts, not {attempt}")


def nothing(model: Model, after: Truth, result: Any) -> dict[int, Expected]:
    """An op that moves no job."""
    return {}


def enqueued(model: Model, after: Truth, ids: list[int]) -> dict[int, Expected]:
    """An enqueue answers for the ids it returned."""
    return dict.fromkeys(ids, Expected("enqueue"))


def claimed(worker: int, incarnation: int) -> Judge:
    """A claim answers for its batch, and its worker is alive in that incarnation at the moment of the commit."""

    def judge(model: Model, after: Truth, batch: Batch | None) -> dict[int, Expected]:
        if batch is None:
            return {}
        if after.workers.get(worker) != ("alive", incarnation):
            raise Violation(f"a claim by worker {worker}.{incarnation}, which is {after.workers.get(worker)}")
        for job in batch.jobs:
            if (job.id, job.generation) in model.claims:
                raise Violation(f"job {job.id}: its generation {job.generation} is claimed a second time")
            model.claims.add((job.id, job.generation))
        model.given.add(batch.lease)
        model.known.add(batch.jobs[0].lease)
        return {job.id: Expected("claim") for job in batch.jobs}

    return judge


def settled(ends: Sequence[End]) -> Judge:
    """A settlement answers for the ends that it doesn't call stale; each was leased to its worker until now."""

    def judge(model: Model, after: Truth, stale: list[End]) -> dict[int, Expected]:
        expected = {}
        for end in ends:
            if end in stale:
                continue
            was = model.truth.jobs.get(end.job.id)
            numbers = (end.job.generation, end.job.lease.id)
            ours = was is not None and was.place == "leased" and (was.generation, was.lease) == numbers
            if not ours or end.job.lease in model.unknown:
                raise Violation(f"job {end.job.id}: {was} is settled by who held generation {end.job.generation}")
            model.settled[end.job.id, end.job.generation] = end.verdict
            there_already = end.verdict == "waiting" and after.jobs[end.job.id].place == "ready"
            expected[end.job.id] = Expected(ACT_OF_VERDICT[end.verdict], end.charge, "wake" if there_already else None)
        if any(end.then is not None for end in ends):
            expected |= woken(model, after, None)
        return expected

    return judge


def settled_free(ends: Sequence[End]) -> Judge:
    """The same, of the ends whose jobs nobody else had locked."""

    def judge(model: Model, after: Truth, result: tuple[list[End], list[End]]) -> dict[int, Expected]:
        stale, blocked = result
        return settled([end for end in ends if end not in blocked])(model, after, stale)

    return judge


def completed(end: End) -> Judge:
    """The transaction of a handler answers for the end of its job, if it says that it could hold it. What another claim
    has that the server gave the same numbers, after the first was lost with a server, can't be told from it."""

    def judge(model: Model, after: Truth, held: bool) -> dict[int, Expected]:
        was = model.truth.jobs[end.job.id]
        if was.place != "leased" or (was.generation, was.lease) != (end.job.generation, end.job.lease.id):
            raise Violation(f"job {end.job.id}: {was} is completed by who held generation {end.job.generation}")
        model.settled[end.job.id, end.job.generation] = end.verdict
        return {end.job.id: Expected("complete", end.charge)}

    return judge


def rescued(model: Model, after: Truth, found: Rescue) -> dict[int, Expected]:
    """A rescue answers for so many jobs, all of one lease whose worker isn't alive."""
    moved = [id for id, standing in after.jobs.items() if model.truth.jobs.get(id) != standing]
    for id in moved:
        was = model.truth.jobs.get(id)
        if was is None or was.lease != found.lease or model.truth.alive(was.worker, "alive", "draining"):
            raise Violation(f"job {id}: {was} was rescued out of lease {found.lease}")
        if after.jobs[id].rescues - was.rescues not in (0, 1):  # counted for suspects only
            raise Violation(f"job {id}: a rescue that isn't counted: {was} -> {after.jobs[id]}")
    if len(moved) != found.rescued:
        raise Violation(f"a rescue of {found.rescued} jobs moved {moved}")
    return dict.fromkeys(moved, Expected("rescue"))


def some(act: Act) -> Judge:
    """An op that answers for so many moves of this act."""

    def judge(model: Model, after: Truth, count: int) -> dict[int, Expected]:
        moved = [id for id, standing in after.jobs.items() if model.truth.jobs.get(id) != standing]
        if len(moved) != count:
            raise Violation(f"{act}: {count} were said to move, {moved} have")
        return dict.fromkeys(moved, Expected(act))

    return judge


def begun(model: Model, after: Truth, runs: list[Started]) -> dict[int, Expected]:
    """A start answers for the jobs of the runs that are new."""
    return {run.job: Expected("enqueue") for run in runs if run.new}


def woken(model: Model, after: Truth, result: Any) -> dict[int, Expected]:
    """An op that may wake whoever waits."""
    return {id: Expected("wake") for id in model.truth.among("waiting") if after.jobs[id] != model.truth.jobs[id]}


def swept(model: Model, after: Truth, result: Any) -> dict[int, Expected]:
    """A cancel sweep ends jobs for which a request stood, and wakes runs, which see to it themselves."""
    moved = [id for id, standing in after.jobs.items() if model.truth.jobs.get(id) != standing]
    if not set(moved) <= model.truth.requests:
        raise Violation(f"cancelled without a request: {moved}")
    return dict.fromkeys(moved, Expected("cancel")) | woken(model, after, result)


def paused(model: Model, after: Truth, result: Any) -> dict[int, Expected]:
    """A pause, a resume, or a sweep of them: what is paused is set aside, what was resumed goes on."""
    expected = {}
    for id, standing in after.jobs.items():
        was = model.truth.jobs.get(id)
        if was is None or was == standing:
            continue
        resumed = after.pauses.get(id, True)  # forgotten, because it was
        if resumed is not (was.place == "held"):
            raise Violation(f"job {id}: {was} -> {standing}, and its pause is {'over' if resumed else 'not over'}")
        expected[id] = Expected("resume" if resumed else "pause")
    return expected


def asked(id: int, acts: Mapping[object, Act]) -> Judge:
    """A person's act on one job answers for that job, by the answer that was given."""

    def judge(model: Model, after: Truth, answer: object) -> dict[int, Expected]:
        was = model.truth.jobs.get(id)
        ended = after.jobs[id].place in ("history", "dead") if id in after.jobs else False
        if answer == "requested" and id not in after.requests and not ended:
            raise Violation(f"job {id}: a cancel was requested, and no request stands")
        act = acts.get(answer)
        if was is not None and was.place == "waiting":
            return woken(model, after, answer)
        if act == "redrive" and was is not None and was.place == "scheduled":
            act = "hurry" if after.jobs[id] != was else None  # a promotion has locked it, and takes it there anyway
        return {} if act is None else {id: Expected(act)}

    return judge
