"""A state machine over the places: random acts of several workers and people, and after each of them the whole truth.

The model is the lifecycle table itself (``jobs/states.py``): the tables are read before and after each act, and every
job that moved must have made a legal move of that act, with the new generation that the table says. What is settled,
claimed or answered is foretold from what the tables said before.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from perdure.fleet.ops import workers
from perdure.jobs.ops.chores import promote, release, sweep_cancels
from perdure.jobs.ops.control import cancel, discard, redrive, retry
from perdure.jobs.ops.leases import leases
from perdure.jobs.ops.queues import pause, resume
from perdure.jobs.ops.wake import rouse, wake
from perdure.jobs.states import MOVES, Act, Move
from perdure.jobs.view import Place
from perdure.jobs.work import Claimed, Lease, Verdict
from perdure.pg.migrate import migrate
from tests.conftest import Database
from tests.rooms.jobs.machine import Bounded
from tests.rooms.jobs.stage import Member, Stage, end, ended, ids
from tests.rooms.jobs.tour import tour

ACT_OF_VERDICT: dict[str, Act] = {
    "completed": "complete",
    "cancelled": "cancel",
    "expired": "expire",
    "dead": "bury",
    "held": "park",
    "returned": "give_back",
    "retry": "retry",
    "snooze": "snooze",
    "crashed": "isolate",
    "deferred": "isolate",
    "waiting": "wait",
}
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
PLACES = get_args(Place)
LATER = 3_600.0
"""The delay (seconds) of what isn't due before ``time_passes``: longer than any run of the machine, on any machine."""
picks = st.integers(0, 1_000)
"""Which one of what there is just now: modulo its number."""


class Places(Bounded):
    """Jobs, workers and people, on one database. ``last``: whether a suspect crashes for the last time."""

    last: bool | None = None

    # Jobs arrive, are claimed, end

    @initialize(data=st.data())
    def a_day_at_work(self, data: st.DataObject) -> None:
        """Two workers have claimed, have ended a few jobs in some way, and have work before them."""
        self._hire()
        self._hire()
        self.enqueues(2, 5, later=True)
        self.enqueues(5, 5, later=False)
        self.enqueues_work_for_once(once=True)
        self.claims(0, 5)
        self.claims(1, 3)
        self.enqueues(2, 0, later=False)
        verdicts: list[Verdict] = ["dead", "held", "waiting", data.draw(st.sampled_from(VERDICTS))]
        self._flush([(job, verdict) for (_, job), verdict in zip(self.hands, verdicts, strict=False)], self.members[0])
        self.runs_now("scheduled", 0)
        self.cancels("waiting", 0)

    @rule(jobs=st.integers(1, 4), priority=st.sampled_from([0, 5, 9]), later=st.booleans())
    def enqueues(self, jobs: int, priority: int, later: bool) -> None:
        """Somebody enqueues."""
        made = self.stage.enqueue(jobs, priority=priority, delay=LATER if later else None)
        assert self._moved("enqueue") == set(made)
        assert {self.before[id].place for id in made} == {"scheduled" if later else "ready"}

    @rule(once=st.booleans())
    def enqueues_work_for_once(self, once: bool) -> None:
        """Somebody enqueues a job that must not run twice."""
        made = self.stage.enqueue(1, at_most_once=once)
        assert self._moved("enqueue") == set(made)

    @rule(pick=picks, limit=st.integers(1, 5))
    def claims(self, pick: int, limit: int) -> None:
        """A worker, perhaps a dead one, claims: the first jobs of the line, or nothing."""
        member = self.members[pick % len(self.members)]
        line = [
            id for (id,) in self.stage.main.sql("select id from perdure.ready order by lane, pos limit %s", [limit])
        ]
        may = member in self.living and not self.paused
        jobs = self.stage.claim(member, limit)
        assert ids(jobs) == (line if may else [])
        assert self._moved("claim") == set(ids(jobs))
        assert all(self._leased(job) for job in jobs)
        self.hands += [(member, job) for job in jobs]

    @rule(pick=picks, limit=st.integers(1, 5))
    def claims_without_hearing_of_it(self, pick: int, limit: int) -> None:
        """A claim commits and its answer is lost: the worker takes a new incarnation and gives back what it finds."""
        member = self.members[pick % len(self.members)]
        taken = self.stage.claim(member, limit)
        self._moved("claim")
        incarnation = self.stage.main.run(workers.reincarnate(member.id, member.incarnation + 1))
        assert (incarnation is not None) == (member in self.living)
        if incarnation is None:
            return
        assert self.stage.main.run(self.stage.claiming(member)) is None
        member.incarnation = incarnation
        member.floors.clear()
        known = {(job.id, job.generation) for owner, job in self.hands if owner is member}
        unknown = [
            Claimed(id, generation, Lease(held.lease, 0), 1, "work", taken[0].payload, taken[0].created_at)
            for held in self.stage.main.run(leases(member.id))
            for id, generation in held.jobs
            if (id, generation) not in known
        ]
        assert sorted(ids(unknown)) == sorted(ids(taken))
        if unknown:
            assert self.stage.settle([end(job, "returned") for job in unknown], member) == []
        assert self._moved("give_back") == set(ids(taken))

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def settles(self, data: st.DataObject) -> None:
        """A worker ends jobs that it has, had, or believes to have: what is still its own ends, the rest is stale."""
        chosen = data.draw(st.lists(st.integers(0, len(self.hands) - 1), min_size=1, max_size=4, unique=True))
        flush = [(self.hands[each][1], data.draw(st.sampled_from(VERDICTS))) for each in chosen]
        self._flush(flush, self.hands[chosen[0]][0])

    @rule(pick=picks, data=st.data())
    def works(self, pick: int, data: st.DataObject) -> None:
        """A worker claims and ends what it has claimed, well or not."""
        known = len(self.hands)
        self.claims(pick, 3)
        self._flush([(job, data.draw(st.sampled_from(VERDICTS))) for _, job in self.hands[known:]], self.members[0])

    @rule(pick=picks, times=st.integers(1, 3))
    def crashes(self, pick: int, times: int) -> None:
        """Worker after worker claims, dies and is rescued."""
        for _ in range(times):
            self._hire()
            self.claims(len(self.members) - 1, 3)
            self.a_worker_goes(len(self.living) - 1, "dies")
            self.rescues()
            self.time_passes()

    @rule(pick=picks, last=st.booleans())
    def suspects_crash(self, pick: int, last: bool) -> None:
        """What a worker claims crashes alone, for the last time or not."""
        known, self.last = len(self.hands), last
        self.claims(pick, 2)
        self._flush([(job, "crashed") for _, job in self.hands[known:]], self.members[0])
        self.last = None

    def _flush(self, flush: list[tuple[Claimed, Verdict]], member: Member) -> None:
        ours = [job for job, _ in flush if self._leased(job)]
        ends = [end(job, verdict, **self._soon(verdict)) for job, verdict in flush]
        for each in ends:
            if each.verdict == "held" and each.job.id in self._paused():
                each.reason, each.key = "paused", "leased"
        stale = self.stage.settle(ends, member)
        assert Counter(ended(stale)) == Counter(ids([job for job, _ in flush])) - Counter(ids(ours))
        of = {job.id: ACT_OF_VERDICT[verdict] for job, verdict in flush if job in ours}
        assert self._moved(of=of) == set(ids(ours))

    def _soon(self, verdict: str) -> dict[str, Any]:
        if verdict == "crashed":
            last = len(self.hands) % 2 if self.last is None else self.last
            return {"reason": "worker_lost" if last else None, "delay": LATER}
        return {"delay": 0.0 if self.clock % 2 else LATER} if verdict in ("deferred", "retry", "snooze") else {}

    # Chores

    @rule()
    def time_passes(self) -> None:
        """What is scheduled falls due, and is promoted."""
        due = set(self._in("scheduled"))
        assert self.stage.due() == len(due)
        assert self._moved("promote") == due

    @rule()
    def promotes(self) -> None:
        """A promotion takes only what is due."""
        due = {
            id for (id,) in self.stage.main.sql("select id from perdure.scheduled where run_at <= clock_timestamp()")
        }
        self.stage.main.run(promote())
        assert self._moved("promote") == due

    @rule(pick=picks, soon=st.booleans())
    def wakes(self, pick: int, soon: bool) -> None:
        """What a job waits for has happened; or its moment comes, if it has one."""
        if soon:
            due = set(self._in("waiting"))
            self.stage.main.sql("update perdure.waiting set wake_at = clock_timestamp() - interval '1 s'")
            assert self.stage.main.run(rouse()) == len(due)
            assert self._moved("wake") == due
        for id in [id for place in PLACES for id in self._one(place, pick)]:
            waits = self.before[id].place == "waiting"
            assert set(self.stage.main.run(wake([id])).ids) == self._moved("wake") == ({id} if waits else set())

    @rule(known=st.booleans())
    def releases(self, known: bool) -> None:
        """A worker that knows the task of parked jobs (or doesn't) releases them."""
        held = {id for (id,) in self.stage.main.sql("select id from perdure.held where reason <> 'paused'")}
        self.stage.main.run(release(["work" if known else "other"]))
        assert self._moved("release") == (held if known else set())

    @rule()
    def rescues(self) -> None:
        """Somebody rescues: exactly the jobs in leases of workers that aren't alive."""
        alive = [member.id for member in self.living]
        lost = {
            id
            for (id,) in self.stage.main.sql(
                "select t.id from perdure.lease l, unnest(l.jobs, l.generations) as t(id, generation) "
                "join perdure.job j on j.id = t.id and j.generation = t.generation where not l.worker = any(%s)",
                [alive],
            )
        }
        assert self.stage.rescue() == len(lost)
        assert self._moved("rescue") == lost
        self._put_off(lost)
        assert self.stage.main.sql("select 1 from perdure.lease where not worker = any(%s)", [alive]) == []

    def _put_off(self, rescued: set[int]) -> None:
        """A rescue puts off by a second or a few. Whether those have passed by the next act would depend on how busy
        the computer is, and the same choices must lead to the same places: Hypothesis plays beginnings again."""
        self.stage.main.sql(
            "with later as (update perdure.scheduled set run_at = run_at + %s * interval '1 second' where id = any(%s) "
            "returning id, run_at) update perdure.job j set run_at = l.run_at from later l where j.id = l.id",
            [LATER, list(rescued)],
        )

    @rule()
    def sweeps_cancels(self) -> None:
        """Requested cancels of jobs that have left their lease are carried out."""
        asked = {id for (id,) in self.stage.main.sql("select id from perdure.cancel_request")}
        waiting = asked & set(self._in("ready", "scheduled", "held", "waiting"))
        self.stage.main.run(sweep_cancels())
        assert self._moved("cancel") == waiting
        left = {id for (id,) in self.stage.main.sql("select id from perdure.cancel_request")}
        assert left == asked & set(self._in("leased"))

    @rule(pick=picks)
    def looks_after_its_floor(self, pick: int) -> None:
        """A worker lists the writers and probes. Alone on the database, it never hides a job from itself."""
        self.clock += 1.0
        member = self.members[pick % len(self.members)]
        self.stage.tend(member.floor(self.stage.queue), self.clock)

    # People

    @rule(place=st.sampled_from(PLACES), pick=picks)
    def cancels(self, place: str, pick: int) -> None:
        """Somebody cancels a job, wherever it stands."""
        for id in self._one(place, pick):
            answer = self.stage.main.run(cancel(id, "because"))
            waits = place in ("ready", "scheduled", "held", "waiting")
            assert answer == {"history": "finished", "dead": "dead", "leased": "requested"}.get(place, "cancelled")
            assert self._moved("cancel") == ({id} if waits else set())

    @rule(place=st.sampled_from(PLACES), pick=picks)
    def runs_now(self, place: str, pick: int) -> None:
        """Somebody wants a job to run now, wherever it stands."""
        for id in self._one(place, pick):
            assert self.stage.main.run(retry(id)) is (place in ("dead", "scheduled"))
            assert self._moved("redrive", "hurry") == ({id} if place in ("dead", "scheduled") else set())

    @rule(place=st.sampled_from(["dead", *PLACES]), pick=picks, again=st.booleans())
    def decides_about_the_dead(self, place: str, pick: int, again: bool) -> None:
        """Somebody redrives or discards a job, dead or not."""
        for id in self._one(place, pick):
            self.stage.main.run(redrive(id) if again else discard(id))
            assert self._moved("redrive" if again else "discard") == ({id} if place == "dead" else set())

    @rule()
    def pauses_or_resumes(self) -> None:
        """Somebody pauses the queue, or lets it go on."""
        self.paused = not self.paused
        self.stage.main.run(pause("default") if self.paused else resume("default"))
        assert self._moved() == set()

    # Workers come and go

    @precondition(lambda self: len(self.living) < 3)
    @rule()
    def a_worker_comes(self) -> None:
        """A worker registers."""
        self._hire()
        assert self._moved() == set()

    def _hire(self) -> None:
        member = self.stage.worker()
        self.members.append(member)
        self.living.append(member)

    @precondition(lambda self: self.living)
    @rule(pick=picks, how=st.sampled_from(["dies", "leaves"]))
    def a_worker_goes(self, pick: int, how: str) -> None:
        """A worker is declared dead, or signs off with whatever it still holds."""
        member = self.living.pop(pick % len(self.living))
        if how == "dies":
            assert self.stage.lose(member)
        else:
            assert self.stage.main.run(workers.leave(member.id))
        assert self._moved() == set()

    # Always

    @invariant()
    def a_finished_job_stays_finished(self) -> None:
        """History has one row for each finished job, and it never changes."""
        now = {id: standing for id, standing in self.before.items() if standing.place == "history"}
        assert self.finished.items() <= now.items()
        self.finished = now
        assert self.stage.counts("history") == len(now)

    @invariant()
    def every_leased_job_is_somebody_s(self) -> None:
        """A leased job's generation is the one that somebody holds, or a claim that nobody heard of."""
        assert (
            len(self._in("leased"))
            <= self.stage.main.sql("select coalesce(sum(cardinality(jobs)), 0) from perdure.lease")[0][0]
        )

    @invariant()
    def the_view_says_the_same(self) -> None:
        """The view that people read has each job once, in the same place."""
        shown = dict(self.stage.main.sql("select id, place from perdure.jobs"))
        assert shown == {id: standing.place for id, standing in self.before.items()}
        assert self.stage.main.sql("select count(*) from perdure.jobs")[0][0] == len(shown)


def _play(db: Database, **how: Any) -> Counter[Move]:
    """Run the machine, after a tour on which it makes every move; the moves that were made by chance."""
    Places.stage, Places.seen = Stage(db), Counter()
    checks = list(HealthCheck)
    try:
        tour(Places())
        assert [move for move in MOVES if not Places.seen[move]] == [], "what was never tried isn't proved"
        Places.seen.clear()
        run_state_machine_as_test(
            Places, settings=settings(deadline=None, database=None, suppress_health_check=checks, **how)
        )
    finally:
        Places.stage.close()
    return Places.seen


@pytest.mark.timeout(900)  # half a minute of acts on a quiet machine, each a round trip
@pytest.mark.parametrize("schema", ["perdure", "cell_seven"])
def test_every_job_stands_in_one_place_and_moves_by_the_table(db: Database, schema: str) -> None:
    """Whatever workers, chores and people do, in whatever order: every job stands in exactly one place, moves only as
    the lifecycle table says, is finished at most once, and only its present holder can settle it; the same in a schema
    of another name, beside the first [DW-4, DW-28, DW-42].

    Red without the generation in a settlement or in rescue, and when a statement leaves a job in two places or none.
    """
    if schema != "perdure":
        migrate(db.connect(), schema=schema)
        db.schema = schema
    whole = schema == "perdure"
    made = _play(db, max_examples=160 if whole else 15, stateful_step_count=30, derandomize=True)

    assert not whole or len(made) > len(MOVES) * 0.75, "nearly all moves come by chance, and the rarest by the tour"


@pytest.mark.soak
def test_every_job_stands_in_one_place_for_minutes(db: Database) -> None:
    """The same with other acts each time, and many more of them."""
    assert len(_play(db, max_examples=600, stateful_step_count=60)) == len(MOVES)
