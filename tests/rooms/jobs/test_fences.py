"""The fence: whoever has lost a job can write nothing about it, in whatever order settle and rescue meet."""

from __future__ import annotations

from itertools import permutations
from typing import get_args

import pytest

from perdure.jobs.ops.rescue import rescue
from perdure.jobs.ops.settle import generations, settle, traced
from perdure.jobs.work import Verdict
from tests.rooms.jobs.stage import Stage, end, ended, ids

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
AWAY = {"retry": "scheduled", "snooze": "scheduled", "dead": "dead", "held": "held", "returned": "ready"}
AWAY |= {"crashed": "scheduled", "deferred": "scheduled", "waiting": "waiting"}
"""Where a verdict takes a job; the others end it in history."""


@pytest.mark.parametrize("verdict", VERDICTS)
def test_an_end_takes_its_job_to_its_place_once(stage: Stage, verdict: Verdict) -> None:
    """Every end is written once: the same end sent again is stale, and nothing is written for it [DW-42].

    Red without ``generation = …`` in the statement of that verdict, except for ends that leave no row to match.
    """
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)

    assert stage.settle([end(job, verdict)], worker) == []
    before = stage.standings(), stage.counts("attempt"), stage.counts("history")
    assert ended(stage.settle([end(job, verdict)], worker)) == [id]

    assert stage.places() == {id: AWAY.get(verdict, "history")}
    assert (stage.standings(), stage.counts("attempt"), stage.counts("history")) == before


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_former_owner_is_refused_while_a_new_one_runs_the_job(stage: Stage, verdict: Verdict) -> None:
    """A lost worker's end matches no row: the job is running elsewhere and stays there, whatever the end is [DW-41,
    DW-42]. Red without ``generation = …`` in the statement of that verdict."""
    frozen, other = stage.worker("frozen"), stage.worker("other")
    [id] = stage.enqueue()
    [old] = stage.claim(frozen)
    stage.lose(frozen)
    stage.rescue()
    [new] = stage.claim(other)

    assert ended(stage.settle([end(old, verdict)], frozen)) == [id]

    assert stage.places() == {id: "leased"}
    assert stage.main.run(generations([id])) == {id: 1}
    assert stage.settle([end(new)], other) == []
    assert stage.places() == {id: "history"}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_same_worker_s_first_run_is_refused_during_its_second(stage: Stage, verdict: Verdict) -> None:
    """A worker that claims a job again holds two runs of it, and only the later one's end counts: the worker's id is no
    fence [DW-43]. Red without ``generation = …`` in the statement of that verdict."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [first] = stage.claim(worker)
    stage.settle([end(first, "retry", delay=0.0)], worker)
    stage.due()
    [second] = stage.claim(worker)

    assert ended(stage.settle([end(first, verdict)], worker)) == [id]

    assert stage.places() == {id: "leased"}
    assert (first.generation, second.generation) == (0, 1)
    assert stage.settle([end(second)], worker) == []


def test_a_retried_job_is_safe_from_its_old_lease(stage: Stage) -> None:
    """A job that is retried and leased elsewhere while its old lease row still stands (its mates run on) belongs to
    the new lease alone; when the old one's worker is lost, rescue leaves the job alone [DW-40].

    Red without ``listed.generation = j.generation`` in rescue.sql.
    """
    first, second = stage.worker("first"), stage.worker("second")
    retried, mate = stage.enqueue(2)
    jobs = stage.claim(first)
    stage.settle([end(jobs[0], "retry", delay=0.0)], first)
    stage.due()
    [again] = stage.claim(second)
    assert again.id == retried
    assert stage.counts("lease") == 2

    stage.lose(first)
    assert stage.rescue() == 1

    assert stage.places() == {retried: "leased", mate: "ready"}
    assert stage.main.run(generations([retried, mate])) == {retried: 1, mate: 1}
    assert ended(stage.settle([end(jobs[0])], first)) == [retried]
    assert stage.settle([end(again)], second) == []


def test_two_leases_in_one_flush_are_judged_one_by_one(stage: Stage) -> None:
    """A flush with jobs of a live lease and of a rescued one settles the first and refuses the second [DW-42].

    Red without ``generation = …`` in finish.sql.
    """
    worker, other = stage.worker(), stage.worker("other")
    lost = stage.enqueue(3)
    old = stage.claim(worker)
    stage.lose(worker)
    stage.rescue()
    stage.claim(other)
    kept = stage.enqueue(3)
    new = stage.claim(stage.worker("again"))

    stale = stage.settle([end(job) for pair in zip(old, new, strict=True) for job in pair], worker)

    assert ended(stale) == lost
    assert stage.places() == dict.fromkeys(lost, "leased") | dict.fromkeys(kept, "history")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_rescue_leaves_what_a_settlement_has_in_hand(stage: Stage, verdict: Verdict) -> None:
    """While a settlement of some of a lost lease's jobs is under way, rescue takes the others and waits for nothing;
    the lease row stays. Rolled back, those jobs are rescued next; nothing is lost or done twice [DW-40].

    Red without SKIP LOCKED in rescue.sql (it would wait), or when close_lease.sql doesn't look at the jobs.
    """
    worker = stage.worker()
    settled = stage.enqueue(2)
    mates = stage.enqueue(2)
    jobs = stage.claim(worker)
    stage.lose(worker)
    settler = stage.session()

    settler.begin()
    assert settler.run(settle([end(job, verdict) for job in jobs[:2]], worker.id)) == []
    assert stage.rescue() == 2
    assert stage.counts("lease") == 1
    settler.rollback()

    assert stage.places() == dict.fromkeys(settled, "leased") | dict.fromkeys(mates, "ready")
    assert stage.rescue() == 2
    assert stage.counts("lease") == 0
    assert stage.places() == dict.fromkeys([*settled, *mates], "ready")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_settlement_that_commits_first_has_won_against_rescue(stage: Stage, verdict: Verdict) -> None:
    """A lost worker's settlement that commits before a rescue has seen its jobs counts; rescue takes the rest [DW-40].

    Red without ``listed.generation = j.generation`` in rescue.sql.
    """
    worker = stage.worker()
    settled = stage.enqueue(2)
    mates = stage.enqueue(2)
    jobs = stage.claim(worker)
    stage.lose(worker)

    assert stage.settle([end(job, verdict) for job in jobs[:2]], worker) == []
    assert stage.rescue() == 2

    place = AWAY.get(verdict, "history")
    assert stage.places() == dict.fromkeys(settled, place) | dict.fromkeys(mates, "ready")
    assert stage.counts("lease") == 0


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_settlement_that_waits_for_a_rescue_is_stale(stage: Stage, verdict: Verdict) -> None:
    """A settlement that meets a rescue's uncommitted rows waits for it, looks again, and writes nothing [DW-41].

    Red without ``generation = …`` in the statement of that verdict.
    """
    worker = stage.worker()
    lost = stage.enqueue(3)
    jobs = stage.claim(worker)
    stage.lose(worker)
    rescuer, settler = stage.session(), stage.session()

    rescuer.begin()
    assert rescuer.run(rescue()).rescued == 3
    waiting = settler.start(settle([end(job, verdict) for job in jobs], worker.id))
    stage.blocked(settler, by=rescuer)
    rescuer.commit()

    assert ended(waiting.result()) == lost
    assert stage.places() == dict.fromkeys(lost, "ready")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_settlement_outlives_a_rescue_that_rolls_back(stage: Stage, verdict: Verdict) -> None:
    """A settlement that waited for a rescue which then rolled back has lost nothing: its ends are written [DW-40]."""
    worker = stage.worker()
    all_ids = stage.enqueue(3)
    jobs = stage.claim(worker)
    stage.lose(worker)
    rescuer, settler = stage.session(), stage.session()

    rescuer.begin()
    rescuer.run(rescue())
    waiting = settler.start(settle([end(job, verdict) for job in jobs], worker.id))
    stage.blocked(settler, by=rescuer)
    rescuer.rollback()

    assert waiting.result() == []
    assert stage.places() == dict.fromkeys(all_ids, AWAY.get(verdict, "history"))


@pytest.mark.parametrize("order", list(permutations(("settle", "rescue", "claim"))), ids="-".join)
def test_whatever_the_order_a_job_ends_once(stage: Stage, order: tuple[str, ...]) -> None:
    """Settle by the lost worker, rescue, and a claim elsewhere, in every order: the job is finished at most once, and
    stands in one place."""
    lost, other = stage.worker("lost"), stage.worker("other")
    [id] = stage.enqueue()
    [old] = stage.claim(lost)
    stage.lose(lost)
    stale, new = [], []

    for act in order:
        if act == "settle":
            stale = stage.settle([end(old)], lost)
        elif act == "rescue":
            stage.rescue()
        else:
            new = stage.claim(other)

    rescued_first = order.index("rescue") < order.index("settle")
    assert ended(stale) == ([id] if rescued_first else [])
    assert ids(new) == ([id] if order == ("rescue", "settle", "claim") or order[:2] == ("rescue", "claim") else [])
    assert stage.places() == {id: "history" if not rescued_first else "leased" if new else "ready"}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_an_unknown_outcome_is_found_out_by_settling_again(stage: Stage, verdict: Verdict) -> None:
    """A settlement whose commit was not answered is sent again; what doesn't match any more is ours when history or
    the attempt log has it with our lease and generation, and Stale only otherwise [DW-42].

    Red when traces.sql takes the row that a rescue logs for a settlement.
    """
    worker, frozen, other = stage.worker(), stage.worker("frozen"), stage.worker("other")
    [ours] = stage.enqueue()
    [job] = stage.claim(worker)
    [lost] = stage.enqueue()
    [old] = stage.claim(frozen)
    stage.lose(frozen)
    stage.rescue()
    [new] = stage.claim(other)
    ends = [end(job, verdict), end(old, verdict)]
    stage.settle([ends[0], end(new, verdict)], worker)

    stale = stage.settle(ends, worker)

    assert ended(stale) == [ours, lost]
    assert ended(stage.main.run(traced(stale))) == [ours]


def test_an_unknown_outcome_that_was_a_rollback_is_settled_by_the_second_try(stage: Stage) -> None:
    """When the first try was rolled back, the second one writes the ends, and there is nothing to look up."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    session = stage.session()
    session.begin()
    session.run(settle([end(job)], worker.id))
    session.rollback()

    assert stage.settle([end(job)], worker) == []
    assert stage.places() == {id: "history"}
