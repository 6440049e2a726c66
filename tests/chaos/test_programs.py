"""Random workflows under kill -9: each ends as a plain reading of its program says."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from perdure import Client
from perdure.core.run_errors import WorkflowFinished, WorkflowNotFound
from tests.chaos.dreamt import dreamt
from tests.chaos.floor import Floor, Process, until
from tests.chaos.programs import Program, play
from tests.chaos.reading import Fact, Reading, family, signals
from tests.chaos.traces import RECORDED, RECORDED_AGAIN, TRIED_AGAIN

HOLDING = (
    "select r.id from perdure.run r join perdure.jobs j on j.id = r.job and j.place = 'waiting' "
    "join perdure.step s on s.run = r.job and s.kind = 'signal' and s.detail = 'never' and s.state = 'waiting' "
    "where r.ended_at is null order by r.id"
)
TOKENS = (
    "select r.id, s.detail, s.outcome #>> '{}' from perdure.run r join perdure.step s on s.run = r.job "
    "where r.ended_at is null and s.kind = 'token' and s.state = 'done' order by r.id, s.name"
)
LIVE = "select id from perdure.run where ended_at is null order by id"
ENDED = "select count(*) from perdure.run where ended_at is not null"
POINTS = {
    "workflow.before_step": 25, "workflow.after_step": 25, "workflow.before_record": 25, "workflow.after_record": 25,
    "workflow.after_spawn": 4, "workflow.before_commit": 4, "workflow.after_commit": 4,
    "settle.before_flush": 15, "settle.after_flush": 15,
}  # fmt: skip
"""Where a worker may kill itself, and at which passing at the earliest: a child in which a suspect runs has the same
points, and must not die of the same run three times."""


class Theatre:
    """Programs that are played by processes, which are killed, or kill themselves at a bad moment."""

    def __init__(self, floor: Floor, client: Client, programs: list[Program], dice: random.Random) -> None:
        self.floor, self.client, self.dice = floor, client, dice
        self.programs = {f"p{number}": program for number, program in enumerate(programs)}
        self.all = {id: each for top, mine in self.programs.items() for id, each in family(top, mine).items()}
        self.asked: set[str] = set()
        self.timed: set[str] = set()
        self.late: set[str] = set()
        self._told: set[str] = set()
        self._answered: set[str] = set()
        self._held: Counter[str] = Counter()
        self._workers: list[Process] = []
        self._new = False

    def start(self, ids: list[str], *, late: bool = False) -> None:
        """Start these; one in eight has a deadline within a few seconds."""
        self.late |= set(ids) if late else set()
        for id in ids:
            bound = timedelta(seconds=self.dice.uniform(0.2, 4)) if self.dice.random() < 0.12 else None
            self.timed |= {id} if bound else set()
            self.client.workflows.start(play.run(self.programs[id]), id=id, deadline=bound)

    def work(self, *, new: bool = False) -> None:
        """Two workers; ``new``: with the changed code, and no old one beside them."""
        self._new = new
        for worker in self._workers:
            worker.kill()
        self._workers = [self._worker(), self._worker()]

    def kill(self) -> None:
        """Kill one of the workers, and start another."""
        self._workers.pop(0).kill()
        self._workers.append(self._worker())

    def cancel_some(self, count: int) -> None:
        """Cancel some that live, wherever they are."""
        live = [id for (id,) in self.floor.rows(LIVE)]
        for id in self.dice.sample(live, min(count, len(live))):
            self._cancel(id)

    def until_tried(self, steps: int) -> None:
        """Until so many steps have been tried, or there is nothing left to do."""
        query = "select count(*) > %s or not exists (select from perdure.run where ended_at is null) from tried"
        until(lambda: self._attended(query, steps), self._shown)

    def until_ended(self) -> None:
        """Until every run has ended, as long as some do: suspects run alone, which takes time."""
        more = f"select ({ENDED}) > %s or not exists (select from perdure.run where ended_at is null)"
        while self.floor.rows(LIVE):
            ended = self.floor.value(ENDED)
            until(lambda: self._attended(more, ended), self._shown)  # noqa: B023

    def _attended(self, query: str, *values: object) -> bool:
        """Whether it is true. Before that the runs that live are sent what they wait for, and answered to their tokens;
        and those that wait for what never comes are cancelled, or one above them is."""
        if all(worker.ended for worker in self._workers):
            self._workers = [self._worker(doomed=False)]
        for (id,) in self.floor.rows(LIVE):
            if id not in self._told:
                self._told.add(id)
                self._send(id)
        for id, name, token in self.floor.rows(TOKENS):
            if token not in self._answered:
                self._answered.add(token)
                with contextlib.suppress(WorkflowFinished, WorkflowNotFound):  # it goes on meanwhile
                    self.client.workflows.callback(token, f"{id} {name}")
        for (id,) in self.floor.rows(HOLDING):
            self._held[id] += 1
            if self._held[id] == 1:
                parts = id.split("/")
                self._cancel("/".join(parts[: self.dice.randrange(len(parts)) + 1]))
            elif self._held[id] % 50 == 0:  # the one above it couldn't be cancelled, or didn't care
                self._cancel(id)
        return bool(self.floor.value(query, *values))

    def _send(self, id: str) -> None:
        with contextlib.suppress(WorkflowFinished):
            for name in signals(self.all[id]):
                self.client.workflows.signal(id, name, f"{id} {name}")

    def _cancel(self, id: str) -> None:
        self.asked.add(id)
        with contextlib.suppress(WorkflowNotFound, WorkflowFinished):
            self.client.workflows.cancel(id)

    def _worker(self, *, doomed: bool = True) -> Process:
        code = "yes" if self._new else ""
        point = self.dice.choice([*POINTS, ""]) if doomed else ""
        fault = f"{point}@{self.dice.randint(POINTS[point], 2 * POINTS[point])}:kill" if point else ""
        return self.floor.worker(
            "--queues", "default:10", app="tests.chaos.programs:app", started=not fault, PROGRAMS_NEW_CODE=code,
            PERDURE_FAULT=fault,
        )  # fmt: skip

    def _shown(self) -> str:
        left = [(id, self.all.get(id), self.client.workflows.get(id)) for (id,) in self.floor.rows(LIVE)]
        return "\n".join(map(str, left)) + self.floor.logs()

    # What has become of them.

    def facts(self) -> dict[str, Fact]:
        """What is known of each run that was started."""
        found = {}
        for (id,) in self.floor.rows("select id from perdure.run"):
            run = self.client.workflows.get(id)
            found[id] = Fact(run.state, run.round, run.result, None)
        recorded = "select r.id, s.{} from perdure.step s join perdure.run r on r.job = s.run where "
        for id, where in self.floor.rows(recorded.format("detail") + "s.kind = 'cancel'"):
            found[id].stopped_at = where
        for id, step in self.floor.rows(recorded.format("name") + "s.kind = 'step' and s.attempt > 0"):
            found[id].begun.add(step)
        for id, round, step, state in self.floor.rows("select run, round, name, state from recorded"):
            found[id].ended[round, step] = state
        for id, step in self.floor.rows("select run, step from done"):
            found[id].done.add(step)
        for id, step in self.floor.rows("select run, step from booked"):
            found[id].booked.append(step)
        return found

    def judged(self) -> Iterator[str]:
        """Everything in which a run isn't what its reading says."""
        facts = self.facts()
        below = dict.fromkeys(self.programs, "")
        for id in sorted(facts, key=len):  # a parent before its children
            if id not in below:
                yield f"{id} was started by nobody"
                continue
            told = f"{id} {self.all[id]} {facts[id]}"
            try:
                reading = Reading(id, self.all[id], facts)
            except (AssertionError, KeyError) as error:
                yield f"{error!r}: {told}"
                continue
            below |= dict.fromkeys(reading.children, id)
            for problem in self._differences(id, reading, facts, below[id]):
                yield f"{problem}: {told}"

    def _differences(self, id: str, reading: Reading, facts: dict[str, Fact], parent: str) -> Iterator[str]:
        fact = facts[id]
        if fact.state != reading.state and not (fact.state == "discarded" and id in self.asked):
            yield f"{reading.state} and not {fact.state}"
        if fact.state == "completed" and fact.result != reading.result:
            yield f"brings {reading.result}"
        if not reading.must <= fact.done:
            yield f"hasn't done {reading.must - fact.done}"
        if not fact.done <= reading.must | reading.may:
            yield f"has done {fact.done - reading.must - reading.may}"
        if sorted(fact.booked) != sorted(reading.booked):
            yield f"has to have booked {reading.booked}"
        if not reading.started <= set(facts):
            yield f"hasn't started {reading.started - set(facts)}"
        if fact.state == "cancelled" and id not in self.asked and (not parent or facts[parent].state == "completed"):
            yield "was cancelled by nobody"
        if fact.state == "deadline" and id not in self.timed:
            yield "has no deadline"
        if reading.ways != sorted(reading.ways, reverse=True) or (id in self.late and "old" in reading.ways):
            yield f"went {reading.ways}"
        undone = [step.removeprefix("undo ") for step in self._order(id) if step not in reading.at_once]
        lines = [reading.undoable.get(step, 0) for step in undone]
        if lines != sorted(lines, reverse=True):
            yield f"was undone in the order {undone}"

    def _order(self, id: str) -> list[str]:
        query = "select step from tried where run = %s and starts_with(step, 'undo ') group by step order by min(at)"
        return [step for (step,) in self.floor.rows(query, id)]


def _play(floor: Floor, client: Client, number: int, count: int, turns: int) -> Theatre:
    """Play so many programs while workers are killed at each turn, the server is restarted at one, and the code is
    changed at another."""
    floor.conn.execute(RECORDED)
    programs = dreamt(number, count)
    theatre = Theatre(floor, client, programs, random.Random(number))
    ids = list(theatre.programs)
    late = ids[1::4]
    theatre.start([id for id in ids if id not in late])
    theatre.work()
    for turn in range(turns):
        theatre.until_tried(turn * count)
        theatre.cancel_some(2)
        theatre.kill()
        if turn == turns // 2:
            floor.db.server.restart()
            floor.reconnect()
        if turn == 1:
            until(
                lambda: floor.value("select exists (select from done where starts_with(reverse(step), 'dlo.'))"),
                floor.logs,
            )
            theatre.work(new=True)
            theatre.start(late, late=True)
    theatre.until_ended()
    return theatre


@pytest.mark.parametrize(
    ("number", "count", "turns"),
    [(2026, 40, 4), *[pytest.param(n, 150, 12, marks=pytest.mark.soak) for n in range(10)]],
)
def test_random_programs_end_as_a_plain_reading_says(
    floor: Floor, client: Client, number: int, count: int, turns: int
) -> None:
    """Programs of steps, failures, retries, time-outs, sleeps, signals, tokens, transactions, patches, gatherings of
    all these, compensations, children, pivots and new rounds, made by chance, cancelled by chance and by deadlines, run
    by workers that are killed again and again, at any fault point too, and whose code is changed, on a server that is
    restarted: each has the result and just the effects that a plain reading of it says, and a transaction's row stands
    once if it is recorded as done, and not at all if it isn't [DW-190, DW-203, PAT-53].

    Red when a replay repeats or skips a step, a signal is lost, a compensation is forgotten, a cancel leaves something
    undone, the record of a transaction is written apart, or one that was stopped beside others commits.
    """
    theatre = _play(floor, client, number, count, turns)

    wrong = list(theatre.judged())
    assert not wrong, "\n".join(wrong)
    assert floor.rows(TRIED_AGAIN) == floor.rows(RECORDED_AGAIN) == []
    assert Counter(fact.state for fact in theatre.facts().values()).keys() >= {"completed", "compensated", "cancelled"}
