"""The claim floor under random schedules: whatever the order, every committed job is claimed once.

Nothing in the kernel's hot path waits for a row, so one thread can play many sessions statement by statement, in an
order that a seed chooses: who enqueues, commits late or rolls back, who claims, lists, probes, and in between what.
A failing seed replays exactly.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from time import monotonic

import pytest

from perdure.jobs.floors import Floor, Range
from perdure.jobs.model import JobSpec
from perdure.jobs.ops.claim import Batch, claim, probe, writers
from perdure.jobs.ops.enqueue import enqueue
from tests.rooms.jobs.stage import PATIENCE_SECONDS, Member, Session, Stage, ids

SPEC = JobSpec(task="work", payload="{}")


@dataclass
class Enqueuer:
    """A session that enqueues and ends its transactions early, late, or in vain."""

    session: Session
    dice: Random
    written: list[int]
    open: list[int] = field(default_factory=list)
    busy: bool = False

    def step(self) -> None:
        """Enqueue a few (or 400), or end the transaction: one in six is rolled back."""
        if self.busy and self.dice.random() < 0.3:
            self.finish(commit=self.dice.random() > 1 / 6)
            return
        if not self.busy:
            self.session.begin()
            self.busy = True
        many = 400 if self.dice.random() < 0.02 else self.dice.randint(1, 4)
        specs = [SPEC.options(priority=self.dice.choice((0, 5, 5, 5)))] * many
        self.open += self.session.run(enqueue(specs, wake=False))

    def finish(self, *, commit: bool) -> None:
        """End the transaction, if there is one."""
        if not self.busy:
            return
        self.session.sql("commit" if commit else "rollback")
        if commit:
            self.written += self.open
        self.open, self.busy = [], False


@dataclass
class Claimer:
    """A worker that claims and keeps its floor, one statement at a time, like the real one."""

    session: Session
    member: Member
    floor: Floor
    dice: Random
    claimed: list[int]
    rolls_back: float
    batch: Batch | None = None
    limit: int = 0
    state: str = "idle"
    asked: list[Range] = field(default_factory=list)

    def step(self, now: float) -> None:
        """The next statement of whatever it is in the middle of."""
        if self.state == "claiming":
            self._end_claim()
        elif self.state == "probing":
            self.floor.probed(self.session.run(probe(self.asked)))
            self.state = "idle"
        elif self.dice.random() < 0.25:
            self.asked = self.floor.listed(self.session.run(writers()), now, self.dice.choice((0.0, 0.002)))
            self.state = "probing" if self.asked else "idle"
        else:
            self.limit = self.dice.randint(1, 60)
            self.session.begin()
            op = claim(
                self.member.id, self.member.incarnation, self.floor.lanes[0] // 4096, self.floor, self.limit, now=now
            )
            self.batch = self.session.run(op)
            self.state = "claiming"

    def _end_claim(self) -> None:
        self.state = "idle"
        if self.dice.random() < self.rolls_back:
            self.session.rollback()
            self.floor.failed()
            return
        self.session.commit()
        taken = len(self.batch.jobs) if self.batch else 0
        self.floor.claimed(self.batch.highest if self.batch else {}, short=taken < self.limit)
        self.claimed += ids(self.batch.jobs) if self.batch else []

    def drain(self) -> None:
        """Alone now: finish what is under way, then list, probe and claim until there is nothing."""
        self.rolls_back = 0.0
        while self.state != "idle":
            self.step(0.0)
        for now in range(1, 8):
            asked = self.floor.listed(self.session.run(writers()), float(now), 0.0)
            if asked:
                self.floor.probed(self.session.run(probe(asked)))
            self.limit = 1_000
            while True:
                self.batch = self.session.run(claim(
                    self.member.id, self.member.incarnation, self.floor.lanes[0] // 4096, self.floor, self.limit
                ))  # fmt: skip
                taken = len(self.batch.jobs) if self.batch else 0
                self.floor.claimed(self.batch.highest if self.batch else {}, short=taken < self.limit)
                self.claimed += ids(self.batch.jobs) if self.batch else []
                if not taken:
                    break


def _claimer(stage: Stage, dice: Random, claimed: list[int], rolls_back: float) -> Claimer:
    member = stage.worker()
    return Claimer(stage.session(), member, member.floor(stage.queue), dice, claimed, rolls_back)


@pytest.mark.parametrize("seed", range(12))
def test_every_committed_job_is_claimed_once_in_any_order(stage: Stage, seed: int) -> None:
    """Four enqueuers (late commits, rollbacks, 400 rows at once) and three claimers (one rolls every third claim back,
    one is slow) under a held snapshot: none missed, none twice [DW-19].

    One claimer outlives the others and must find everything by its own floor. Red without a step's guards, and red
    without the confirming probe.
    """
    dice = Random(seed)
    written: list[int] = []
    claimed: list[int] = []
    snapshot = stage.session()
    snapshot.sql("begin isolation level repeatable read; select count(*) from perdure.ready")
    enqueuers = [Enqueuer(stage.session(), dice, written) for _ in range(4)]
    claimers = [_claimer(stage, dice, claimed, rolls_back) for rolls_back in (0.05, 0.33, 0.05)]

    actors: list[Enqueuer | Claimer] = [*enqueuers, *claimers]
    for tick in range(700):
        actor = dice.choices(actors, weights=[2, 2, 1, 0.2, 6, 3, 0.5])[0]
        if isinstance(actor, Enqueuer):
            actor.step()
        else:
            actor.step(tick * 1e-4)
    for enqueuer in enqueuers:
        enqueuer.finish(commit=True)
    for claimer in claimers[1:]:
        claimer.rolls_back = 1.0
        while claimer.state != "idle":
            claimer.step(1.0)
    claimers[0].drain()

    twice = [id for id, times in Counter(claimed).items() if times > 1]
    assert (sorted(set(written) - set(claimed)), twice) == ([], [])
    assert len(claimed) == len(written)
    assert stage.counts("ready") == 0


def test_every_committed_job_is_claimed_once_in_a_storm(stage: Stage) -> None:
    """The same with a thread for each actor, so that statements really overlap: none missed, none twice, and whoever
    claims waits for nobody [DW-19]. Red without SKIP LOCKED in claim.sql."""
    total = 12_000
    claimed: list[int] = []
    snapshot = stage.session()
    snapshot.sql("begin isolation level repeatable read; select count(*) from perdure.ready")
    enqueuers = [Enqueuer(stage.session(), Random(seed), []) for seed in range(3)]
    claimers = [_claimer(stage, Random(seed), claimed, rolls_back) for seed, rolls_back in enumerate((0.02, 0.2))]
    until = monotonic() + PATIENCE_SECONDS * 2

    def enqueueing(actor: Enqueuer) -> None:
        while len(actor.written) < total / len(enqueuers):
            actor.step()
        actor.finish(commit=True)

    def claiming(actor: Claimer) -> None:
        while (len(claimed) < total or not all(done.done() for done in filling)) and monotonic() < until:
            actor.step(monotonic())

    with ThreadPoolExecutor(5) as threads:
        filling = [threads.submit(enqueueing, actor) for actor in enqueuers]
        for done in [threads.submit(claiming, actor) for actor in claimers]:
            done.result()
    for claimer in claimers:
        claimer.drain()

    written = [id for enqueuer in enqueuers for id in enqueuer.written]
    assert sorted(claimed) == sorted(written)
