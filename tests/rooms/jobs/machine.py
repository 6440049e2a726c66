"""What the state machine over the places knows, and what it does with the bound of a queue.

The tables are read before and after each act; every job that moved must have made a legal move of that act.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar, Literal, get_args

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from perdure.jobs import bounds
from perdure.jobs.bounds import WhenFull
from perdure.jobs.ops import pause
from perdure.jobs.ops.admission import advance, declare
from perdure.jobs.ops.queues import resume
from perdure.jobs.states import LEGAL, Act, Move
from perdure.jobs.view import Place
from perdure.jobs.work import Claimed
from tests.rooms.jobs.stage import Member, Stage, Standing

EMPTY = "truncate perdure.job, perdure.ready, perdure.scheduled, perdure.lease, perdure.held, perdure.waiting, \
perdure.dead, perdure.cancel_request, perdure.pause, perdure.history, perdure.attempt, perdure.worker restart identity"


class Truth(RuleBasedStateMachine):
    """What the tables say, and what they said before."""

    stage: ClassVar[Stage]
    seen: ClassVar[Counter[Move]]

    def __init__(self) -> None:
        super().__init__()
        self.stage.main.sql(EMPTY)
        self.stage.main.run(resume("default"))
        self.members: list[Member] = []
        self.living: list[Member] = []
        self.hands: list[tuple[Member, Claimed]] = []
        self.before: dict[int, Standing] = {}
        self.finished: dict[int, Standing] = {}
        self.paused = False
        self.clock = 0.0

    def _now(self) -> dict[int, Standing]:
        standings = self.stage.standings()
        astray = {id: found for id, found in standings.items() if len(found) != 1}
        assert astray == {}, "every job stands in exactly one place, and is finished at most once"
        return {id: found[0] for id, found in standings.items()}

    def _moved(self, *acts: Act, of: dict[int, Act] | None = None) -> set[int]:
        """Check that whatever has changed since the last act is a legal move of one of these; the jobs that moved."""
        now = self._now()
        assert self.before.keys() <= now.keys(), "no job is lost"
        moved = {id for id in now if now[id] != self.before.get(id)}
        for id in moved:
            was, standing = self.before.get(id), now[id]
            allowed = (of[id],) if of is not None and id in of else acts
            source: Any = was.place if was else None
            found = [LEGAL[source, act, standing.place] for act in allowed if (source, act, standing.place) in LEGAL]  # type: ignore[index]
            assert found, f"job {id}: {was} -> {standing} is no move of {allowed}"
            assert standing.generation - (was.generation if was else 0) == found[0].bumps
            self.seen[found[0]] += 1
        self.before = now
        return moved

    def _in(self, *places: str) -> list[int]:
        return [id for id, standing in self.before.items() if standing.place in places]

    def _one(self, place: str, pick: int) -> list[int]:
        """One of the jobs in that place, if there is any."""
        among = sorted(self._in(place))
        return [among[pick % len(among)]] if among else []

    def _leased(self, job: Claimed) -> bool:
        return self.before[job.id].place == "leased" and self.before[job.id].generation == job.generation


class Bounded(Truth):
    """The queue's bound, declared for the length of an act."""

    @rule()
    def a_full_queue_sheds(self) -> None:
        """The queue is full, and something more urgent comes: the least urgent and newest gives way, if it is less."""
        waiting = self.stage.main.sql(
            "select id from perdure.ready where lane %% 4096 > 0 order by lane desc, pos desc"
        )
        if not waiting:
            return
        self._bind(len(self._in("ready")), "shed_lowest")
        made = self.stage.enqueue(1, priority=0)
        self._bind("unlimited", None)
        assert self._moved("enqueue", "shed") == {*made, waiting[0][0]}

    @rule(jobs=st.integers(1, 3))
    def a_full_queue_spills(self, jobs: int) -> None:
        """The queue is full: what comes stands in line, and enters when the bound is lifted."""
        self._bind(max(len(self._in("ready")), 1), "spill")
        self.stage.enqueue(jobs)
        self._moved("enqueue")
        line = {id for (id,) in self.stage.main.sql("select id from perdure.scheduled where run_at >= '9000-01-01'")}
        self._bind("unlimited", None)
        assert self.stage.main.run(advance(self.stage.queue)) == len(line)
        assert self._moved("advance") == line

    @rule(pick=st.integers(0, 1_000))
    def pauses_jobs(self, pick: int) -> None:
        """Somebody pauses a job, wherever it stands: one that waits for its turn is set aside."""
        for id in [id for place in get_args(Place) for id in self._one(place, pick)]:
            place = self.before[id].place
            turn = place in ("ready", "scheduled")
            answer = self.stage.main.run(pause.pause(id))
            told = {"history": "finished", "dead": "dead", "leased": "requested", "waiting": "requested"}
            assert answer == told.get(place, "paused")
            assert self._moved("pause") == ({id} if turn else set())

    @rule(pick=st.integers(0, 1_000))
    def resumes_jobs(self, pick: int) -> None:
        """Somebody lets a job go on, wherever it stands: one that was set aside for that goes back."""
        for id in [id for place in get_args(Place) for id in self._one(place, pick)]:
            aside = self.stage.main.sql("select 1 from perdure.held where id = %s and reason = 'paused'", [id])
            self.stage.main.run(pause.resume(id))
            assert self._moved("resume") == ({id} if aside else set())

    @rule()
    def sweeps_pauses(self) -> None:
        """What is paused and has left its lease is set aside."""
        waiting = self._paused() & set(self._in("ready", "scheduled"))
        self.stage.main.run(pause.sweep_pauses())
        assert self._moved("pause") == waiting
        assert self._paused() <= set(self._in("leased", "held", "waiting"))

    def _paused(self) -> set[int]:
        return {id for (id,) in self.stage.main.sql("select id from perdure.pause where not resumed")}

    def _bind(self, max_depth: int | Literal["unlimited"], when_full: WhenFull | None) -> None:
        self.stage.main.sql("delete from perdure.queue_sample")
        bound = bounds.rule("default", max_depth=max_depth, max_age=None, when_full=when_full, deadline=None)
        self.stage.main.run(declare([bound], "test"))
