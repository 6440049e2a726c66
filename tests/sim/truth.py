"""What the tables say, and what they may say next: the model, in plain Python.

Between two readings one transaction has committed. So whatever differs is its doing, and must be exactly the moves its
op has answered for, each of them legal by ``jobs/states.py``, with the generation and the attempts that move has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from perdure.jobs.ops.claim import Batch
from perdure.jobs.ops.rescue import Rescue
from perdure.jobs.states import LEGAL, Act
from perdure.jobs.work import End

TABLES = """
select 'job' as kind, id, generation, attempt, rescues, lane, pos, run_at as moment, null::text as text from perdure.job
union all select 'ready', id, null, null, null, lane, pos, null, null from perdure.ready
union all select 'scheduled', id, null, null, null, null, null, run_at, null from perdure.scheduled
union all select 'leased', t.id, t.generation, l.worker, null, null, l.id, null, null
          from perdure.lease l, unnest(l.jobs, l.generations) as t(id, generation)
union all select 'held', id, null, null, null, null, null, null, null from perdure.held
union all select 'dead', id, null, null, null, null, null, null, null from perdure.dead
union all select 'history', id, generation, attempt, rescues, null, null, null, outcome from perdure.history
union all select 'worker', id, incarnation, null, null, null, null, null, state from perdure.worker
union all select 'request', id, null, null, null, null, null, null, null from perdure.cancel_request
"""

ACT_OF_VERDICT: Mapping[str, Act] = {
    "completed": "complete",
    "cancelled": "cancel",
    "expired": "expire",
    "dead": "bury",
    "held": "park",
    "returned": "give_back",
    "retry": "retry",
    "snooze": "snooze",
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
    """A move that an op answers for, and the attempts it charges."""

    act: Act
    charge: int = 0


@dataclass
class Truth:
    """One reading of the tables. ``fronts``: the first position that is ready, by lane."""

    jobs: dict[int, Standing] = field(default_factory=dict)
    workers: dict[int, tuple[str, int]] = field(default_factory=dict)
    requests: set[int] = field(default_factory=set)
    leases: set[int] = field(default_factory=set)
    fronts: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, rows: Sequence[Mapping[str, Any]]) -> Truth:
        """Raises Violation when a job stands in no place, or in two, or a place holds what has no body."""
        self, bodies = cls(), {row["id"]: row for row in rows if row["kind"] == "job"}
        found: dict[int, list[Standing]] = {id: [] for id in bodies}
        for row in rows:
            kind, id, body = row["kind"], row["id"], bodies.get(row["id"])
            if kind == "history":
                found.setdefault(id, []).append(Standing(kind, row["generation"], row["attempt"], row["rescues"]))
            elif kind == "worker":
                self.workers[id] = row["text"], row["generation"]
            elif kind == "request":
                self.requests.add(id)
            elif kind == "leased":
                self.leases.add(row["pos"])
                if body is not None and body["generation"] == row["generation"]:
                    found[id].append(_standing(kind, body, row["pos"], row["attempt"]))
            elif kind != "job":
                if body is None or (kind == "ready" and (row["lane"], row["pos"]) != (body["lane"], body["pos"])):
                    raise Violation(f"job {id}: a row of {kind} that belongs to no body")
                if kind == "ready":
                    self.fronts[row["lane"]] = min(row["pos"], self.fronts.get(row["lane"], row["pos"]))
                if kind == "scheduled" and row["moment"] != body["moment"]:
                    raise Violation(f"job {id}: scheduled for another moment than its body says")
                found[id].append(_standing(kind, body))
        for id, standings in found.items():
            if len(standings) != 1:
                raise Violation(f"job {id} stands in {[standing.place for standing in standings] or 'no place'}")
            self.jobs[id] = standings[0]
        return self

    def among(self, *places: str) -> list[int]:
        """The jobs that stand in one of these places, in ascending order."""
        return sorted(id for id, standing in self.jobs.items() if standing.place in places)

    def alive(self, worker: int | None, *states: str) -> bool:
        """Whether the worker's row is in one of these states."""
        return worker is not None and worker in self.workers and self.workers[worker][0] in states


def _standing(place: str, body: Mapping[str, Any], lease: int | None = None, worker: int | None = None) -> Standing:
    return Standing(place, body["generation"], body["attempt"], body["rescues"], lease, worker)


Judge = Callable[["Model", Truth, Any], dict[int, Expected]]
"""What an op answers for, by its result: given the model, the tables after it, and the result."""


@dataclass
class Model:
    """What has been seen so far. ``claims``: every (job, generation) that was ever claimed. ``settled``: how each
    (job, generation) was settled."""

    truth: Truth = field(default_factory=Truth)
    claims: set[tuple[int, int]] = field(default_factory=set)
    settled: dict[tuple[int, int], str] = field(default_factory=dict)

    def check(self, after: Truth, judge: Judge, result: Any) -> None:
        """One transaction has committed, whose op had this result. Raises Violation."""
        before, expected = self.truth, judge(self, after, result)
        if not before.jobs.keys() <= after.jobs.keys():
            raise Violation(f"lost: jobs {sorted(before.jobs.keys() - after.jobs.keys())}")
        moved = {id for id, standing in after.jobs.items() if before.jobs.get(id) != standing}
        if moved != expected.keys():
            raise Violation(f"{_moves(before, after, moved)} have moved, but the op answers for {sorted(expected)}")
        for id in moved:
            _check_move(id, before.jobs.get(id), after.jobs[id], expected[id])
        self.truth = after

    def concluded(self, ends: Iterable[End], stale: Collection[End]) -> None:
        """A worker believes that of these ends the stale ones weren't settled, and the others were."""
        for end in ends:
            verdict = self.settled.get((end.job.id, end.job.generation))
            if (verdict == end.verdict) is (end in stale):
                told = "stale" if end in stale else "settled"
                raise Violation(f"job {end.job.id}: its worker takes its {end.verdict} end for {told}, it is {verdict}")


def _moves(before: Truth, after: Truth, ids: Iterable[int]) -> str:
    return ", ".join(f"{id} ({before.jobs.get(id)} -> {after.jobs[id]})" for id in sorted(ids)) or "no jobs"


def _check_move(id: int, was: Standing | None, now: Standing, expected: Expected) -> None:
    act, charge = expected
    move = LEGAL.get((was.place if was else None, act, now.place))  # type: ignore[arg-type]
    if move is None:
        raise Violation(f"job {id}: {was} -> {now} is no move of {act}")
    generation = was.generation if was else 0
    if now.generation != generation + move.bumps:
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
        return {job.id: Expected("claim") for job in batch.jobs}

    return judge


def settled(ends: Sequence[End]) -> Judge:
    """A settlement answers for the ends that it doesn't call stale; each was leased to its worker until now."""

    def judge(model: Model, after: Truth, stale: list[End]) -> dict[int, Expected]:
        expected = {}
        for end in ends:
            was = model.truth.jobs[end.job.id]
            ours = was.place == "leased" and (was.generation, was.lease) == (end.job.generation, end.job.lease.id)
            if end in stale:
                continue
            if not ours:
                raise Violation(f"job {end.job.id}: {was} is settled by who held generation {end.job.generation}")
            model.settled[end.job.id, end.job.generation] = end.verdict
            expected[end.job.id] = Expected(ACT_OF_VERDICT[end.verdict], end.charge)
        return expected

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


def swept(model: Model, after: Truth, result: Any) -> dict[int, Expected]:
    """A cancel sweep ends jobs for which a request stood."""
    moved = [id for id, standing in after.jobs.items() if model.truth.jobs.get(id) != standing]
    if not set(moved) <= model.truth.requests:
        raise Violation(f"cancelled without a request: {moved}")
    return dict.fromkeys(moved, Expected("cancel"))


def asked(id: int, acts: Mapping[object, Act]) -> Judge:
    """A person's act on one job answers for that job, by the answer that was given."""

    def judge(model: Model, after: Truth, answer: object) -> dict[int, Expected]:
        was = model.truth.jobs.get(id)
        ended = after.jobs[id].place in ("history", "dead") if id in after.jobs else False
        if answer == "requested" and id not in after.requests and not ended:
            raise Violation(f"job {id}: a cancel was requested, and no request stands")
        act = acts.get(answer)
        if act == "redrive" and was is not None and was.place == "scheduled":
            act = "hurry" if after.jobs[id] != was else None  # a promotion has locked it, and takes it there anyway
        return {} if act is None else {id: Expected(act)}

    return judge
