"""Claim: who gets which jobs, in which order, how many, and what it writes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import pytest

from perdure.core.op import Call, Op
from perdure.jobs.model import JobSpec
from perdure.jobs.ops.chores import promote
from perdure.jobs.ops.claim import look
from perdure.jobs.ops.enqueue import enqueue
from perdure.jobs.ops.queues import ensure, pause, resume
from tests.rooms.jobs.stage import Stage, end, ids

R = TypeVar("R")


def test_a_claim_is_one_statement_that_takes_and_marks_at_once(stage: Stage) -> None:
    """One call takes the rows and writes the lease; until it commits the jobs are ready to every reader and nobody
    else's to take, and a rollback leaves all as it was [DW-13]. Red when the claim becomes two calls."""
    worker, other = stage.worker(), stage.worker("other")
    jobs = stage.enqueue(3)
    session = stage.session()
    calls: list[Call] = []
    session.begin()
    session.run(_noting(stage.claiming(worker), calls))

    assert stage.places() == dict.fromkeys(jobs, "ready")
    assert stage.claim(other) == []
    session.rollback()
    assert stage.places() == dict.fromkeys(jobs, "ready")
    assert ids(stage.claim(other)) == jobs
    assert [call.statement.name for call in calls] == ["jobs.claim"]


def _noting(op: Op[R], calls: list[Call]) -> Op[R]:
    """The op, with every call it makes noted."""
    try:
        call = next(op)
        while True:
            calls.append(call)
            call = op.send((yield call))
    except StopIteration as done:
        result: R = done.value
        return result


def test_a_claim_changes_the_place_and_nothing_of_the_body(stage: Stage) -> None:
    """A claim moves jobs from ready into one lease row that names the worker, the time, and each job with its
    generation; the body isn't touched [DW-34]. Red when the claim writes the job row, or a lease per job."""
    worker = stage.worker()
    jobs = stage.enqueue(3)
    before = stage.main.sql("select j, xmin, ctid from perdure.job j order by id")

    claimed = stage.claim(worker)

    assert stage.main.sql("select j, xmin, ctid from perdure.job j order by id") == before
    assert stage.main.sql("select worker, jobs, generations, claimed_at <= now() from perdure.lease") == [
        (worker.id, jobs, [0, 0, 0], True)
    ]
    assert stage.counts("ready") == 0
    assert [(job.generation, job.attempt, job.lease.left) for job in claimed] == [(0, 1, 3)] * 3


def test_only_what_is_due_is_claimed(stage: Stage) -> None:
    """A job due later is not claimable before the database's clock says so, and is after its promotion [DW-15].

    Red without ``run_at <= clock_timestamp()`` in promote.sql.
    """
    worker = stage.worker()
    [id] = stage.enqueue(delay=3_600)

    stage.main.sql("update perdure.job set run_at = run_at - interval '59 min'")
    stage.main.sql("update perdure.scheduled set run_at = run_at - interval '59 min'")
    assert stage.main.run(promote()) == 0
    assert stage.claim(worker) == []
    due = stage.main.run(look([worker.floor(stage.queue)])).due_in
    assert due is not None
    assert 0 < due <= 60

    assert stage.due() == 1
    assert ids(stage.claim(worker)) == [id]


def test_the_oldest_is_claimed_first(stage: Stage) -> None:
    """A thousand jobs are claimed in the order in which they were enqueued [DW-16, DW-17]. Red without ``order by
    r.pos`` and ``order by j.lane, j.pos`` in claim.sql."""
    worker = stage.worker()
    jobs = [id for _ in range(10) for id in stage.enqueue(100)]

    assert [id for _ in range(20) for id in ids(stage.claim(worker, 50))] == jobs


def test_a_lower_priority_number_goes_first(stage: Stage) -> None:
    """Priority 0 is claimed before 5 before 9, whatever was enqueued first; within a priority the oldest [DW-16]."""
    worker = stage.worker()
    last, middle, first = (stage.enqueue(2, priority=priority) for priority in (9, 5, 0))

    assert ids(stage.claim(worker, 5)) == [*first, *middle, last[0]]
    assert ids(stage.claim(worker, 5)) == last[1:]


@pytest.mark.parametrize("limit", [1, 25, 1_000])
def test_a_claim_takes_no_more_than_its_limit(stage: Stage, limit: int) -> None:
    """A claim's limit holds over all lanes together [DW-18]. Red without the outer ``limit`` in claim.sql."""
    worker = stage.worker()
    for priority in range(4):
        stage.enqueue(limit, priority=priority)

    assert len(stage.claim(worker, limit)) == limit
    assert stage.counts("lease") == 1
    assert stage.counts("ready") == 3 * limit


@pytest.mark.parametrize("off", ["nestloop", "hashjoin", "mergejoin", "indexscan", "material", "sort", "none"])
def test_no_plan_makes_a_claim_take_too_much(stage: Stage, off: str) -> None:
    """Whatever the planner does with its joins, the locking part is run once: the claim takes its limit and leases
    exactly what it took [DW-14]. Red when ``picked`` isn't materialized but asked in an ``in (…)``."""
    session = stage.session()
    for setting in ("seqscan", "bitmapscan"):
        session.sql(f"set enable_{setting} = on")
    session.sql("set plan_cache_mode = force_generic_plan")
    if off != "none":
        session.sql(f"set enable_{off} = off")
    worker = stage.worker()
    jobs = stage.enqueue(50)
    stage.enqueue(20, priority=7)
    stage.main.sql("analyze")

    taken = [ids(stage.claim(worker, 7, session=session)) for _ in range(11)]

    assert [len(batch) for batch in taken] == [7] * 10 + [0]
    assert [id for batch in taken for id in batch][:50] == jobs
    assert stage.main.sql("select sum(cardinality(jobs)) from perdure.lease") == [(70,)]


def test_claimers_do_not_wait_for_each_other(stage: Stage) -> None:
    """While one claim is in flight another takes the next jobs at once, and a third what is left [DW-19]. Red without
    SKIP LOCKED in claim.sql."""
    workers = [stage.worker(name) for name in "abc"]
    jobs = stage.enqueue(30)
    sessions = [stage.session() for _ in workers]
    taken: list[int] = []

    for worker, session in zip(workers, sessions, strict=True):
        session.sql("set lock_timeout = '5s'")
        session.begin()
        taken += ids(stage.claim(worker, 10, session=session))
    for session in sessions:
        session.commit()

    assert taken == jobs


def test_four_claimers_share_without_overlap(stage: Stage) -> None:
    """Four workers claiming at the same time get every job once between them [DW-19]."""
    jobs = [id for _ in range(4) for id in stage.enqueue(1_000)]

    def claim_all() -> list[int]:
        session, worker = sessions.pop(), workers.pop()
        mine: list[int] = []
        while batch := ids(stage.claim(worker, 37, session=session)):
            mine += batch
        return mine

    workers = [stage.worker(name) for name in "abcd"]
    sessions = [stage.session() for _ in workers]
    with ThreadPoolExecutor(4) as threads:
        shares = [share.result() for share in [threads.submit(claim_all) for _ in range(4)]]

    assert sorted(id for share in shares for id in share) == jobs


def test_a_paused_queue_gives_nothing_until_it_is_resumed(stage: Stage) -> None:
    """Nothing is claimed from a paused queue, nor does a look call for it; other queues and what is leased go on."""
    worker = stage.worker()
    mail = stage.main.run(ensure(["mail"]))["mail"]
    running, waiting = stage.enqueue(2)
    [job] = stage.claim(worker, 1)
    [letter] = stage.enqueue(queue="mail")

    assert stage.main.run(pause("default"))
    assert stage.claim(worker) == []
    assert stage.main.run(look([worker.floor(stage.queue), worker.floor(mail)])).queues == {mail}
    assert ids(stage.claim(worker, queue=mail)) == [letter]
    assert stage.settle([end(job)], worker) == []
    assert stage.main.run(resume("default"))

    assert ids(stage.claim(worker)) == [waiting]
    assert running == job.id
    assert not stage.main.run(pause("nowhere"))


def test_a_claim_brings_what_only_few_jobs_have(stage: Stage) -> None:
    """Key, tags, options and expiry travel with the jobs that have them, and an expired job is marked as such."""
    worker = stage.worker()
    stage.enqueue()
    stage.enqueue(key="order:9182", tags=("red",), timeout=timedelta(seconds=3), expires=timedelta(days=1))
    stage.enqueue(expires=timedelta(days=1))
    stage.main.sql(
        "update perdure.job set expires_at = now() - interval '1 s' where expires_at is not null and tags is null"
    )

    plain, rich, late = stage.claim(worker)

    assert plain.extras is None
    assert rich.extras is not None
    assert (rich.extras.key, rich.extras.tags, rich.extras.options) == ("order:9182", ["red"], {"timeout": 3.0})
    assert (plain.expired, rich.expired, late.expired) == (False, False, True)


def test_payloads_come_in_the_order_of_their_jobs(stage: Stage) -> None:
    """Each job has its own payload, byte for byte as it was sent, whatever the batch."""
    worker = stage.worker()
    texts = ['{"n": 1}', '{"a":"}],[{\\u0022"}', '{ "spaced" : [1, 2] }', '{"big":"' + "x" * 50_000 + '"}', "{}"]
    stage.main.run(enqueue([JobSpec(task="work", payload=text) for text in texts]))

    assert [bytes(job.payload).decode() for job in stage.claim(worker)] == texts
