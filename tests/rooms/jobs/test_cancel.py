"""Cancel, discard, redrive and run-now: what a person does to one job, against whoever is moving it at that moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from perdure.core.op import Op
from perdure.fleet.ops import workers
from perdure.jobs.ops.chores import promote, sweep_cancels
from perdure.jobs.ops.control import cancel, discard, get, redrive, retry
from perdure.jobs.work import Verdict
from tests.rooms.jobs.stage import Stage, end, ids


def _put(stage: Stage, place: Literal["ready", "scheduled", "held", "dead"]) -> int:
    """One job in that place."""
    [id] = stage.enqueue(delay=100 if place == "scheduled" else None)
    if place in ("held", "dead"):
        worker = stage.worker()
        [job] = stage.claim(worker)
        stage.settle([end(job, place)], worker)
    assert stage.places()[id] == place
    return id


@pytest.mark.parametrize("place", ["ready", "scheduled", "held"])
def test_a_waiting_job_is_cancelled_at_once(stage: Stage, place: Literal["ready", "scheduled", "held"]) -> None:
    """A job that waits, wherever it does, ends in history as cancelled with the reason given; once only [DW-4]."""
    id = _put(stage, place)

    assert stage.main.run(cancel(id, "changed my mind")) == "cancelled"
    assert stage.main.run(cancel(id)) == "finished"

    job = stage.main.run(get(id))
    assert job is not None
    assert (job.place, job.outcome, job.error) == ("history", "cancelled", "changed my mind")
    assert stage.places() == {id: "history"}
    assert stage.claim(stage.worker()) == []


def test_the_answers_of_a_late_cancel(stage: Stage) -> None:
    """A cancel of a dead job, of one that completed, and of one that never was says so and does nothing."""
    dead = _put(stage, "dead")
    worker = stage.worker()
    [finished] = stage.enqueue()
    stage.settle([end(job) for job in stage.claim(worker)], worker)

    assert stage.main.run(cancel(dead)) == "dead"
    assert stage.main.run(cancel(finished)) == "finished"
    assert stage.main.run(cancel(10_000)) == "missing"
    assert stage.counts("cancel_request") == 0
    assert stage.places() == {dead: "dead", finished: "history"}


def test_a_running_job_s_worker_is_asked_and_no_other(stage: Stage) -> None:
    """A cancel of a leased job is a request that the next beat of its worker brings back; its settlement as cancelled
    ends the job and the request."""
    worker, other = stage.worker(), stage.worker("other")
    [id] = stage.enqueue()
    [job] = stage.claim(worker)

    assert stage.main.run(cancel(id, "stop")) == "requested"
    mine, others = stage.main.run(workers.beat(worker.id)), stage.main.run(workers.beat(other.id))
    assert mine is not None
    assert others is not None
    assert (mine.cancels, others.cancels) == ((id,), ())

    stage.settle([end(job, "cancelled")], worker)
    assert stage.places() == {id: "history"}
    assert stage.counts("cancel_request") == 0


def test_the_first_to_commit_wins_between_a_completion_and_a_cancel(stage: Stage) -> None:
    """A completion that commits before its worker hears of the cancel stands, and the request is forgotten."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    stage.main.run(cancel(id))

    stage.settle([end(job)], worker)
    stage.main.run(sweep_cancels())

    shown = stage.main.run(get(id))
    assert shown is not None
    assert shown.outcome == "completed"
    assert stage.counts("cancel_request") == 0


@pytest.mark.parametrize("verdict", ["retry", "snooze", "held", "returned"])
def test_a_settlement_honours_a_cancel_whatever_its_end(stage: Stage, verdict: Verdict) -> None:
    """A job that leaves its lease alive although its cancel was requested is cancelled where it stands: the sweep
    carries the request out. Red when cancels.sql doesn't look at that place."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    stage.main.run(cancel(id, "stop"))

    stage.settle([end(job, verdict)], worker)
    stage.main.run(sweep_cancels())

    shown = stage.main.run(get(id))
    assert shown is not None
    assert (shown.place, shown.outcome, shown.error) == ("history", "cancelled", "stop")
    assert stage.counts("cancel_request") == 0


def test_a_rescue_honours_a_cancel(stage: Stage) -> None:
    """A cancelled job whose worker is lost doesn't run again: a claim that is faster than the sweep marks it, and the
    sweep ends it. Red without ``cancels`` in claim.sql, or when cancels.sql doesn't look at ready."""
    worker, other = stage.worker(), stage.worker("other")
    swift, slow = stage.enqueue(2)
    stage.claim(worker)
    stage.main.run(cancel(swift))
    stage.main.run(cancel(slow))
    stage.lose(worker)
    stage.rescue()

    [job] = stage.claim(other, 1)
    assert (job.id, job.cancelled) == (swift, True)
    stage.main.run(sweep_cancels())
    assert stage.places() == {swift: "leased", slow: "history"}
    stage.settle([end(job, "cancelled")], other)

    assert stage.places() == {swift: "history", slow: "history"}
    assert stage.counts("cancel_request") == 0


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_cancel_that_meets_a_claim_in_flight_is_not_lost(stage: Stage, ending: str) -> None:
    """While a claim is in flight a cancel becomes a request, without waiting. Whether the claim commits or rolls back,
    somebody honours it: the worker's beat brings it, or the sweep does."""
    worker = stage.worker()
    [id] = stage.enqueue()
    claiming = stage.session()

    claiming.begin()
    claiming.run(stage.claiming(worker))
    assert stage.main.run(cancel(id)) == "requested"
    claiming.sql(ending)

    if ending == "commit":
        beat = stage.main.run(workers.beat(worker.id))
        assert beat is not None
        assert beat.cancels == (id,)
    else:
        stage.main.run(sweep_cancels())
        assert stage.places() == {id: "history"}


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_claim_passes_over_a_job_that_is_being_cancelled(stage: Stage, ending: str) -> None:
    """A claim doesn't wait for a cancel in flight; rolled back, the job can be claimed."""
    first, second = stage.worker(), stage.worker("second")
    jobs = stage.enqueue(2)
    cancelling = stage.session()

    cancelling.begin()
    assert cancelling.run(cancel(jobs[0])) == "cancelled"
    assert ids(stage.claim(first)) == [jobs[1]]
    cancelling.sql(ending)

    assert ids(stage.claim(second)) == ([] if ending == "commit" else [jobs[0]])


def test_a_cancel_of_a_leased_job_holds_up_nobody(stage: Stage) -> None:
    """While a transaction that has asked for a cancel stays open, the job's worker can settle it: the first one to
    commit wins, and the request that came too late is swept. Red when a cancel locks the row of a leased job."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    cancelling = stage.session()

    cancelling.begin()
    assert cancelling.run(cancel(id)) == "requested"
    stage.main.sql("set lock_timeout = '10s'")
    assert stage.settle([end(job)], worker) == []
    cancelling.commit()

    assert stage.places() == {id: "history"}
    stage.main.run(sweep_cancels())
    assert stage.counts("cancel_request") == 0


@pytest.mark.parametrize("verb", [retry, discard])
def test_a_refused_retry_or_discard_holds_up_nobody(stage: Stage, verb: Callable[[int], Op[object]]) -> None:
    """While a transaction stays open in which a leased job couldn't be retried, or discarded, its worker can settle it.
    Red when these verbs lock the job's row before they know where it stands."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    refused = stage.session()

    refused.begin()
    assert refused.run(verb(id)) in (False, "alive")
    stage.main.sql("set lock_timeout = '10s'")
    assert stage.settle([end(job)], worker) == []
    refused.commit()

    assert stage.places() == {id: "history"}


def test_a_cancel_that_meets_a_promotion_in_flight_is_not_lost(stage: Stage) -> None:
    """A cancel doesn't wait for a promotion of its job: it becomes a request, and the sweep ends the job where it
    went. Red when the sweep doesn't look at ready."""
    [id] = stage.enqueue(delay=100)
    for table in ("scheduled", "job"):
        stage.main.sql(f"update perdure.{table} set run_at = run_at - interval '1 h'")
    promoting, cancelling = stage.session(), stage.session()

    promoting.begin()
    assert promoting.run(promote()) == 1
    assert cancelling.run(cancel(id)) == "requested"
    promoting.commit()

    stage.main.run(sweep_cancels())
    assert stage.places() == {id: "history"}


def test_a_promotion_leaves_a_job_that_is_being_cancelled(stage: Stage) -> None:
    """A promotion skips the row of a cancel in flight; rolled back, the next promotion moves it."""
    [id] = stage.enqueue(delay=100)
    for table in ("scheduled", "job"):
        stage.main.sql(f"update perdure.{table} set run_at = run_at - interval '1 h'")
    cancelling = stage.session()

    cancelling.begin()
    assert cancelling.run(cancel(id)) == "cancelled"
    assert stage.main.run(promote()) == 0
    cancelling.rollback()

    assert stage.main.run(promote()) == 1
    assert stage.places() == {id: "ready"}


def test_only_a_dead_job_is_discarded_or_redriven(stage: Stage) -> None:
    """Discard ends a dead job for good with its last error kept, redrive runs it again from its first attempt; both
    leave every other job alone [DW-4]."""
    given_up, again = _put(stage, "dead"), _put(stage, "dead")
    waiting = _put(stage, "ready")

    assert stage.main.run(discard(waiting)) == "alive"
    assert stage.main.run(redrive(waiting)) is False
    assert stage.main.run(discard(given_up)) == "discarded"
    assert stage.main.run(discard(given_up)) == "finished"
    assert stage.main.run(discard(10_000)) == "missing"
    assert stage.main.run(redrive(again)) is True
    assert stage.main.run(redrive(again)) is False

    assert stage.places() == {given_up: "history", again: "ready", waiting: "ready"}
    kept, fresh = stage.main.run(get(given_up)), stage.main.run(get(again))
    assert kept is not None
    assert fresh is not None
    assert (kept.outcome, kept.error) == ("discarded", "it failed")
    assert (fresh.attempt, fresh.generation) == (0, 2)


@pytest.mark.parametrize(("place", "moved"), [("scheduled", True), ("dead", True), ("ready", False), ("held", False)])
def test_run_now_takes_what_waits_for_a_time_and_what_is_dead(
    stage: Stage, place: Literal["ready", "scheduled", "held", "dead"], moved: bool
) -> None:
    """Run-now moves a scheduled or dead job to ready, and says of any other that there was nothing to do [DW-4]."""
    id = _put(stage, place)

    assert stage.main.run(retry(id)) is moved
    assert stage.places() == {id: "ready" if moved else place}


def test_run_now_of_a_job_that_is_being_promoted_is_true(stage: Stage) -> None:
    """Run-now that meets a promotion of its job says so at once, and the job is ready when both have committed; nobody
    waits for a lock in a circle. Red when run-now takes a locked row for no row."""
    [id] = stage.enqueue(delay=100)
    for table in ("scheduled", "job"):
        stage.main.sql(f"update perdure.{table} set run_at = run_at - interval '1 h'")
    hurrying, promoting = stage.session(), stage.session()

    hurrying.begin()
    hurrying.sql("select from perdure.job where id = %s for update", [id])
    moving = promoting.start(promote())
    stage.blocked(promoting, by=hurrying)
    assert hurrying.run(retry(id)) is True
    hurrying.commit()

    assert moving.result() == 1
    assert stage.places() == {id: "ready"}


def test_a_redriven_job_is_not_cancelled_by_an_older_request(stage: Stage) -> None:
    """A cancel asked of the attempt that then failed for good doesn't end the job once it is redriven: neither the
    sweep nor the next claim honours it. Red when redrive.sql leaves the request."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    assert stage.main.run(cancel(id)) == "requested"
    stage.settle([end(job, "dead")], worker)

    assert stage.main.run(redrive(id)) is True
    stage.main.run(sweep_cancels())
    [again] = stage.claim(worker)

    assert (again.id, again.cancelled) == (id, False)
    assert stage.counts("cancel_request") == 0


def test_a_sweep_under_way_leaves_a_job_that_was_redriven_meanwhile(stage: Stage) -> None:
    """A sweep that read the request before the redrive committed finds it gone under the job's lock, and leaves the job
    in ready. Red when cancel.sql doesn't look for the request again."""
    worker, sweeping = stage.worker(), stage.session()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    stage.main.run(cancel(id))
    stage.settle([end(job, "dead")], worker)

    stage.main.begin()
    stage.main.run(redrive(id))
    swept = sweeping.start(sweep_cancels())
    stage.blocked(sweeping, by=stage.main)
    stage.main.commit()

    swept.result()
    assert stage.places() == {id: "ready"}


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_discard_that_meets_a_redrive_leaves_the_job_alone(stage: Stage, ending: str) -> None:
    """A discard waits for a redrive in flight, and ends the job only if it is still dead then. Red when discard.sql
    takes the job from anywhere but the dead."""
    id, discarding = _put(stage, "dead"), stage.session()

    stage.main.begin()
    stage.main.run(redrive(id))
    discarding.begin()
    discarded = discarding.start(discard(id))
    stage.blocked(discarding, by=stage.main)
    stage.main.sql(ending)

    assert discarded.result() == ("alive" if ending == "commit" else "discarded")
    discarding.commit()
    assert stage.places() == {id: "ready" if ending == "commit" else "history"}


@pytest.mark.parametrize("place", ["ready", "scheduled", "held"])
def test_a_discard_of_a_waiting_job_asks_nothing_of_anybody(
    stage: Stage, place: Literal["ready", "scheduled", "held"]
) -> None:
    """A discard of a job that isn't dead says it is alive, and leaves no request behind."""
    id = _put(stage, place)

    assert stage.main.run(discard(id)) == "alive"
    assert stage.places() == {id: place}
    assert stage.counts("cancel_request") == 0
