"""Settle: how a job's end is written, and what of it anybody can read afterwards."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from random import Random
from typing import get_args

import pytest

from perdure.app.context import Context
from perdure.core.backoff import Retry
from perdure.core.endings import Permanent, RetryAfter
from perdure.core.errors import DatabaseError
from perdure.jobs import rules
from perdure.jobs.ops.chores import release
from perdure.jobs.ops.control import attempts, get
from perdure.jobs.ops.settle import settle
from perdure.jobs.work import Claimed, End, Verdict
from tests.rooms.jobs.stage import Stage, end, ids
from tests.tidy import source


def _failed(job: Claimed, error: BaseException, policy: Retry, dice: float = 0.5) -> End:
    """The end that a handler's exception makes of a job."""
    return rules.failed(job, error, policy, elapsed=0.01, dice=dice, now=datetime.now(UTC), at_most_once=False)


def test_a_completed_job_is_in_history_with_all_there_is_to_know(stage: Stage) -> None:
    """A job that completed has its result, its times, its attempt, and the lease and generation it ended under; it
    can't be claimed again [DW-21]. Red when finish.sql leaves the ready or job row."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)

    stage.settle([end(job, result='{"receipt": 7}')], worker)

    shown = stage.main.run(get(id))
    assert shown is not None
    assert (shown.place, shown.outcome, shown.result, shown.attempt) == ("history", "completed", {"receipt": 7}, 1)
    assert shown.started_at is not None
    assert shown.finished_at is not None
    assert shown.started_at <= shown.finished_at
    assert stage.main.sql("select lease, generation from perdure.history") == [(job.lease.id, 0)]
    assert stage.claim(worker) == []


def test_a_failed_attempt_says_why_and_when_it_goes_on(stage: Stage) -> None:
    """After a failure plain SQL shows the error with its line, the attempt's number and when the next one is due; the
    job is nobody's until then [DW-22]. Red when reschedule.sql doesn't write the attempt log."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    error = OSError("smtp.example refused the connection")

    stage.settle([_failed(job, error, Retry(base=100, cap=100, jitter="none"))], worker)

    [(place, attempt, seconds, text)] = stage.main.sql(
        "select place, attempt, extract(epoch from run_at - clock_timestamp())::float8, error from perdure.jobs"
    )
    assert (place, attempt) == ("scheduled", 1)
    assert 60 < seconds <= 100
    assert "OSError: smtp.example refused the connection" in text
    [logged] = stage.main.run(attempts(id))
    assert (logged.ending, logged.attempt, logged.worker, logged.lease) == ("retry", 1, worker.id, job.lease.id)


def test_failures_of_one_moment_do_not_come_back_together(stage: Stage) -> None:
    """A hundred jobs that fail together are due again spread over the whole delay, which is stored and survives any
    worker [DW-23, KIT-21]. Red when reschedule.sql gives one delay to all, or the jitter is gone."""
    worker = stage.worker()
    stage.enqueue(100)
    dice = Random(9182)
    jobs = stage.claim(worker)

    stage.settle([_failed(job, OSError(), Retry(base=60, cap=60), dice.random()) for job in jobs], worker)

    busiest, spread = stage.main.sql(
        "select max(n), count(*) from "
        "(select count(*) as n from perdure.scheduled group by date_trunc('second', run_at)) s"
    )[0]
    assert busiest <= 10
    assert spread > 30


def test_the_calls_are_those_of_the_policy(stage: Stage) -> None:
    """A policy of four attempts means four claims, no lease held in between, and then the dead with payload, count and
    last error [DW-24, KIT-24]. Red when a failure isn't charged, or when a waiting job keeps its lease."""
    worker = stage.worker()
    [id] = stage.enqueue()
    policy, calls = Retry(max_attempts=4), 0

    while jobs := stage.claim(worker):
        calls += 1
        failure = _failed(jobs[0], OSError(f"call {calls}"), policy)
        stage.main.run(settle([failure], worker.id, [jobs[0].lease.id]))
        assert stage.counts("lease") == 0
        stage.due()

    assert calls == 4
    shown = stage.main.run(get(id))
    assert shown is not None
    assert (shown.place, shown.reason, shown.attempt, shown.payload) == ("dead", "exhausted", 4, {})
    assert shown.error is not None
    assert "call 4" in shown.error
    assert [each.attempt for each in stage.main.run(attempts(id))] == [1, 2, 3, 4]


def test_a_handler_may_say_never_again_or_when(stage: Stage) -> None:
    """A failure declared permanent is dead after its first attempt; one that asks for a time is due then [DW-25]. Red
    when ``rules.failed`` treats either like any other exception."""
    worker = stage.worker()
    never, later = stage.enqueue(2)
    first, second = stage.claim(worker)
    policy = Retry(max_attempts=9, jitter="none")

    stage.settle([_failed(first, Permanent("no such order"), policy), _failed(second, RetryAfter(120), policy)], worker)

    assert stage.places() == {never: "dead", later: "scheduled"}
    assert stage.main.sql("select reason from perdure.dead") == [("permanent",)]
    [(seconds,)] = stage.main.sql(
        "select extract(epoch from run_at - clock_timestamp())::float8 from perdure.scheduled"
    )
    assert 90 < seconds <= 120


def test_every_end_of_one_flush_is_its_own(stage: Stage) -> None:
    """Jobs of one lease, one for each way to end, are settled by one flush, each to its own place, and none
    touches its mates [DW-26]. Red when one statement's rows leak into another's."""
    worker = stage.worker()
    verdicts: tuple[Verdict, ...] = get_args(Verdict)
    jobs = stage.enqueue(len(verdicts))
    claimed = stage.claim(worker)

    assert stage.settle([end(job, verdict) for job, verdict in zip(claimed, verdicts, strict=True)], worker) == []

    places = ["history", "history", "history", "scheduled", "scheduled", "dead", "held", "ready"]
    places += ["scheduled", "scheduled", "waiting"]
    assert stage.places() == dict(zip(jobs, places, strict=True))
    assert stage.main.sql("select outcome from perdure.history order by id") == [
        ("completed",), ("cancelled",), ("expired",)
    ]  # fmt: skip


def test_a_parked_job_waits_for_a_worker_that_knows_it(stage: Stage) -> None:
    """A job whose task nobody here knows is parked without an attempt charged, under its task's name, and released when
    a worker that knows the task comes [DW-27]. Red when ``unstartable`` doesn't ask whether the task is known."""
    old, new = stage.worker("old"), stage.worker("new")
    [id] = stage.enqueue()
    [job] = stage.claim(old)
    parked = rules.unstartable(job, version=None, at_most_once=False)
    assert parked is not None

    stage.settle([parked], old)

    assert stage.main.sql("select reason, key from perdure.held") == [("unknown_task", "work")]
    assert stage.main.run(release(["another"])) == 0
    assert stage.main.run(release(["another", "work"])) == 1
    [again] = stage.claim(new)
    assert (again.id, again.attempt) == (id, 1)


def test_a_flush_that_fails_writes_none_of_it(stage: Stage) -> None:
    """When one statement of a flush is refused nothing of the flush is written, and each end can be sent again."""
    worker = stage.worker()
    jobs = stage.enqueue(2)
    first, second = stage.claim(worker)

    with pytest.raises(DatabaseError, match="json"):
        stage.settle([end(first, "retry"), end(second, result="{not json")], worker)

    assert stage.places() == dict.fromkeys(jobs, "leased")
    assert stage.settle([end(first, "retry"), end(second)], worker) == []


def test_a_lease_goes_with_its_last_job(stage: Stage) -> None:
    """A lease row stands while any of its jobs is unsettled, and is dropped by the flush that says it is the last."""
    worker = stage.worker()
    stage.enqueue(3)
    first, second, third = stage.claim(worker)

    stage.main.run(settle([end(first), end(second)], worker.id))
    assert stage.counts("lease") == 1
    stage.main.run(settle([end(third)], worker.id, [third.lease.id]))

    assert stage.counts("lease") == 0


def test_an_old_fence_is_refused_by_a_store_that_keeps_the_highest(stage: Stage) -> None:
    """The fenced write of the guide, on an application's own table: the second run's token is taken, the first run's,
    arriving late, changes nothing, and the second run may write again [DW-45, DW-46]. Red when a rescue doesn't move
    the generation on, or when the write forgets ``fence <= …``."""
    [write] = re.findall(r'"(UPDATE shipment [^"]+)"', (source.ROOT / "docs" / "guides" / "once.md").read_text())
    fenced = re.sub(r"\$\d", "%s", write)
    stage.main.sql("create table shipment (order_id int primary key, state text, fence int not null default 0)")
    stage.main.sql("insert into shipment values (9182, 'packed', 0)")
    stage.enqueue()
    frozen, other = stage.worker("frozen"), stage.worker("other")
    [old] = stage.claim(frozen)
    stage.lose(frozen)
    stage.rescue()
    [new] = stage.claim(other)

    def sent(job: Claimed) -> int:
        fence = Context(job).fence.generation
        return stage.main.conn.execute(fenced.encode(), [fence, 9182, fence]).rowcount

    assert [sent(new), sent(old), sent(new)] == [1, 0, 1]
    assert stage.main.sql("select fence from shipment") == [(1,)]
    assert ids([old]) == ids([new])
