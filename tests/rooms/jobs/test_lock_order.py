"""Lock order is global: job rows in ascending id, taken before anything is written. Real sessions show who holds what.

In each test a bystander holds the middle one of three jobs. The act under test is started, and Postgres says that it
waits for the bystander: by then it must have locked the job below, and must not have touched the one above.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, wait

import pytest

from perdure.core.op import Op
from perdure.jobs.ops.chores import promote, release
from perdure.jobs.ops.control import cancel_many, retry
from perdure.jobs.ops.enqueue import enqueue_each
from perdure.jobs.ops.settle import settle
from perdure.jobs.work import Claimed, Verdict
from tests.rooms.jobs.stage import Session, Stage, end
from tests.rooms.jobs.test_unique import job, write


def _waits_in_order(stage: Stage, jobs: list[int], act: Op[object]) -> None:
    """The act waits for the middle job with the lowest locked and the highest free; then it goes through."""
    low, middle, high = sorted(jobs)
    bystander, actor = stage.session(), stage.session()
    bystander.begin()
    bystander.sql("select from perdure.job where id = %s for update", [middle])
    actor.begin()
    waiting = actor.start(act)
    stage.blocked(actor, by=bystander)

    free = _free(stage.main, [low, high])
    bystander.rollback()
    waiting.result()
    actor.commit()

    assert free == [high]


def _free(session: Session, jobs: list[int]) -> list[int]:
    """Those of the jobs whose row nobody has locked."""
    return [
        id
        for (id,) in session.sql(
            "select id from perdure.job where id = any(%s) order by id for no key update skip locked", [jobs]
        )
    ]


@pytest.mark.parametrize(
    "verdict", ["completed", "cancelled", "expired", "retry", "snooze", "dead", "held", "returned"]
)
def test_a_settlement_locks_its_jobs_in_ascending_id(stage: Stage, verdict: Verdict) -> None:
    """Jobs that ended in descending order are locked in ascending order. Red without the order of ``mine`` in the
    statement of that verdict."""
    worker = stage.worker()
    jobs = stage.enqueue(3)
    claimed = stage.claim(worker)

    _waits_in_order(stage, jobs, settle([end(job, verdict) for job in reversed(claimed)], worker.id))


def _two_kinds(jobs: list[Claimed]) -> list[tuple[Claimed, Verdict]]:
    return [(jobs[2], "completed"), (jobs[0], "retry"), (jobs[1], "retry")]


def _two_generations(jobs: list[Claimed]) -> list[tuple[Claimed, Verdict]]:
    return [(jobs[2], "completed"), (jobs[1], "completed"), (jobs[0], "dead")]


@pytest.mark.parametrize("mixed", [_two_kinds, _two_generations])
def test_a_flush_of_several_kinds_locks_all_its_jobs_first(
    stage: Stage, mixed: Callable[[list[Claimed]], list[tuple[Claimed, Verdict]]]
) -> None:
    """A transaction that settles with several statements locks its jobs in ascending id before the first of them, so
    that it can't deadlock with whoever else locks in that order. Red without ``jobs.lock``."""
    worker = stage.worker()
    jobs = stage.enqueue(3)
    claimed = stage.claim(worker)

    _waits_in_order(stage, jobs, settle([end(job, verdict) for job, verdict in mixed(claimed)], worker.id))


def test_a_promotion_locks_its_jobs_in_ascending_id(stage: Stage) -> None:
    """Jobs that fall due in descending order of their ids are locked in ascending order. Red without ``order by`` in
    promote.sql."""
    jobs = [stage.enqueue(delay=delay)[0] for delay in (300, 200, 100)]
    stage.main.sql(
        "with d as (update perdure.scheduled s set run_at = run_at - interval '1 h' returning s.id, s.run_at) "
        "update perdure.job j set run_at = d.run_at from d where j.id = d.id"
    )

    _waits_in_order(stage, jobs, promote())


def test_a_release_locks_its_jobs_in_ascending_id(stage: Stage) -> None:
    """Parked jobs are locked in ascending id. Red without ``order by`` in release.sql."""
    worker = stage.worker()
    jobs = stage.enqueue(3)
    claimed = stage.claim(worker)
    stage.settle([end(job, "held") for job in reversed(claimed)], worker)

    _waits_in_order(stage, jobs, release(["work"]))


def test_a_call_replaces_in_ascending_id(stage: Stage) -> None:
    """Jobs that a call names in descending order, to be given other arguments, are locked in ascending order
    [OPS-23]. Red when they are replaced in the order in which they are named."""
    jobs = [each.id for each in write(stage, *[job(unique=key) for key in "abc"])]
    specs = [job('{"n": 1}', unique=key, on_conflict="replace") for key in "cba"]

    _waits_in_order(stage, jobs, enqueue_each(specs))


def test_keys_are_freed_in_ascending_order(stage: Stage) -> None:
    """Keys that nobody needs any more, of a call that names them in descending order, are locked in ascending order.
    Red without ``order by`` in free_keys.sql."""
    for key in "cba":
        write(stage, job(unique=key))
    stage.main.sql("update perdure.unique_key set until = 'expired', expires_at = now() - interval '1 s'")
    bystander, actor = stage.session(), stage.session()
    bystander.begin()
    bystander.sql("select from perdure.unique_key where key = 'b' for update")
    actor.begin()
    for kind, how in (("seq", "on"), ("index", "off"), ("bitmap", "off")):  # as they were written, if it doesn't matter
        actor.sql(f"set enable_{kind}scan = {how}")
    waiting = actor.start(enqueue_each([job(unique=key) for key in "cba"]))
    stage.blocked(actor, by=bystander)

    free = stage.main.sql("select key from perdure.unique_key where key <> 'b' for update skip locked")
    bystander.rollback()
    waiting.result()
    actor.commit()

    assert free == [("c",)]


def test_a_hurried_job_does_not_wait_for_the_promotion_that_waits_for_it(stage: Stage) -> None:
    """Run-now locks the job and then its scheduled row, a promotion the other way round: neither waits for the other
    in a circle, because run-now leaves a row alone that is being promoted, and counts it as moved. Red without SKIP
    LOCKED in hurry.sql."""
    [id] = stage.enqueue(delay=100)
    stage.main.sql("update perdure.scheduled set run_at = run_at - interval '1 h'")
    stage.main.sql("update perdure.job set run_at = run_at - interval '1 h'")
    hurrying, promoting = stage.session(), stage.session()

    hurrying.begin()
    hurrying.sql("select from perdure.job where id = %s for update", [id])
    promotion = promoting.start(promote())
    stage.blocked(promoting, by=hurrying)
    assert hurrying.run(retry(id)) is True
    hurrying.commit()

    assert promotion.result() == 1
    assert stage.places() == {id: "ready"}


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_bulk_cancels_in_opposite_order_do_not_meet_in_a_circle(stage: Stage, rounds: int) -> None:
    """Two transactions cancel the same 500 jobs, half of them leased, one list the other way round: one waits for the
    other, and no deadlock comes of it [OPS-23]. Red without `sorted` in cancel_many."""
    worker = stage.worker()
    jobs = stage.enqueue(500)
    stage.claim(worker, 250)
    first, second = stage.session(), stage.session()
    for _ in range(rounds):
        for session in (first, second):
            session.begin()
        going = [first.start(cancel_many(jobs)), second.start(cancel_many(reversed(jobs)))]
        done, _late = wait(going, return_when=FIRST_COMPLETED)
        ahead = first if going[0] in done else second
        ahead.rollback()
        answers = [each.result() for each in going]
        (second if ahead is first else first).rollback()

        assert [len(each) for each in answers] == [500, 500]
        assert all(each[id] == "requested" for each in answers for id in jobs[:250])
