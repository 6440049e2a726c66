"""Rescue: the jobs of lost workers run again, each once, and nobody is charged for a crash."""

from __future__ import annotations

import pytest

from perdure.core import limits
from perdure.fleet.ops import workers
from perdure.jobs.ops.control import attempts, get, redrive
from perdure.jobs.ops.rescue import close_leases, rescue
from perdure.jobs.ops.settle import settle
from perdure.jobs.work import Verdict
from tests.rooms.jobs.stage import Stage, end, ended, ids


def test_a_lost_worker_s_jobs_are_ready_again_and_nobody_s(stage: Stage) -> None:
    """Rescued jobs stand in ready under a new generation, no lease lists them as its own, and the lease row is gone;
    another worker claims them at once [DW-38].

    Red when rescue.sql doesn't move the generation on.
    """
    lost, other = stage.worker("lost"), stage.worker("other")
    jobs = stage.enqueue(3)
    stage.claim(lost)
    stage.lose(lost)

    assert stage.rescue() == 3

    assert stage.places() == dict.fromkeys(jobs, "ready")
    assert stage.counts("lease") == 0
    again = stage.claim(other)
    assert ids(again) == jobs
    assert {job.generation for job in again} == {1}


def test_any_session_rescues_and_none_leads(stage: Stage) -> None:
    """Rescue needs no worker, no leader and no earlier chore: the op alone finds the lost leases, also those that a
    rescue cut short has left [DW-37]. The set is leases whose worker isn't alive, not workers that just died."""
    first, second, third = (stage.worker(name) for name in "abc")
    jobs = stage.enqueue(3)
    for worker in (first, second, third):
        stage.claim(worker, 1)
        stage.lose(worker)
    cut_short = stage.session()
    cut_short.begin()
    found = cut_short.run(rescue())
    cut_short.rollback()
    assert found.rescued == 1

    assert stage.rescue(session=stage.session()) == 3
    assert stage.places() == dict.fromkeys(jobs, "ready")


@pytest.mark.parametrize("state", ["alive", "draining", "late"])
def test_a_living_worker_s_lease_is_left_alone(stage: Stage, state: str) -> None:
    """Rescue never takes a job from a worker that nobody has declared dead, however late its beat is [DW-40]."""
    worker = stage.worker()
    jobs = stage.enqueue(2)
    stage.claim(worker)
    if state == "draining":
        stage.main.run(workers.drain(worker.id))
    if state == "late":
        stage.silence(worker)

    assert stage.rescue() == 0
    assert stage.places() == dict.fromkeys(jobs, "leased")


def test_a_beat_that_comes_first_saves_its_worker(stage: Stage) -> None:
    """A worker whose beat commits while somebody waits to declare it dead stays alive: the time is looked at again
    under the lock [DW-40]. Red when neither expired.sql nor declare_dead.sql asks for ``expires_at``."""
    worker = stage.worker()
    jobs = stage.enqueue(2)
    stage.claim(worker)
    stage.silence(worker)
    beating, burying = stage.session(), stage.session()

    beating.begin()
    beating.run(workers.beat(worker.id))
    stage.outlive(worker.id, session=beating)
    burying.begin()
    declared = burying.start(workers.declare_dead(worker.id))
    stage.blocked(burying, by=beating)
    beating.commit()
    assert declared.result() is None
    burying.commit()

    assert stage.rescue() == 0
    assert stage.places() == dict.fromkeys(jobs, "leased")


def test_two_rescuers_never_give_back_the_same_job(stage: Stage) -> None:
    """While one session rescues a lease another finds nothing to do there, and neither waits [DW-40]."""
    worker = stage.worker()
    jobs = stage.enqueue(2)
    stage.claim(worker)
    stage.lose(worker)
    first, second = stage.session(), stage.session()

    first.begin()
    assert first.run(rescue()).rescued == 2
    assert second.run(rescue()).lease is None
    assert second.run(close_leases()) == []
    first.commit()

    assert stage.places() == dict.fromkeys(jobs, "ready")
    assert stage.counts("ready") == 2


def test_a_frozen_transaction_does_not_hold_up_the_mates(stage: Stage) -> None:
    """A job that a hanging transaction has locked stays in its lease; its mates are rescued at once and the lease row
    stands until the last one is. Red without ``skip locked`` in rescue.sql, or when close_lease.sql doesn't look."""
    worker = stage.worker()
    jobs = stage.enqueue(3)
    stage.claim(worker)
    stage.lose(worker)
    frozen = stage.session()
    frozen.begin()
    frozen.sql("select from perdure.job where id = %s for no key update", [jobs[1]])

    assert stage.rescue() == 2
    assert stage.places() == {jobs[0]: "ready", jobs[1]: "leased", jobs[2]: "ready"}
    assert stage.counts("lease") == 1

    frozen.rollback()
    assert stage.rescue() == 1
    assert stage.places() == dict.fromkeys(jobs, "ready")
    assert stage.counts("lease") == 0


def test_rescue_gives_back_only_what_its_update_returned(stage: Stage) -> None:
    """Of a lease whose jobs have ended, been retried and been given back meanwhile, only what is still in it is taken;
    the others stay where they are [DW-40]. Red without ``listed.generation = j.generation`` in rescue.sql."""
    worker = stage.worker()
    finished, retried, returned, dead, left = stage.enqueue(5)
    jobs = stage.claim(worker)
    verdicts: tuple[Verdict, ...] = ("completed", "retry", "returned", "dead")
    stage.settle([end(job, verdict) for job, verdict in zip(jobs, verdicts, strict=False)], worker)
    stage.lose(worker)

    assert stage.rescue() == 1

    expected = {finished: "history", retried: "scheduled", returned: "ready", dead: "dead", left: "ready"}
    assert stage.places() == expected


def test_a_crash_charges_nobody_an_attempt(stage: Stage) -> None:
    """Attempts are counted when a job runs and ends, never by rescue: after three crashes the job has been rescued
    three times, its running attempt is its first, and a failure is the first one charged [DW-36]."""
    [id] = stage.enqueue()
    for crash in range(3):
        worker = stage.worker()
        [job] = stage.claim(worker)
        assert job.attempt == 1
        stage.lose(worker)
        assert stage.rescue() == 1
        if crash:
            assert stage.due() == 1
    worker = stage.worker()
    [job] = stage.claim(worker)
    assert job.extras is not None
    assert (job.attempt, job.extras.rescues) == (1, 3)

    stage.settle([end(job, "retry")], worker)

    shown = stage.main.run(get(id))
    assert shown is not None
    assert (shown.attempt, shown.rescues) == (1, 0)
    assert [each.ending for each in stage.main.run(attempts(id))] == ["rescued", "rescued", "rescued", "retry"]


def test_only_what_may_have_begun_is_suspect(stage: Stage) -> None:
    """Of a lost lease's unsettled jobs the first come back as suspects, as many as its worker had slots and may have
    had ends that weren't settled; the rest come back as they were [OPS-72]. Red when everybody is marked.
    """
    worker = stage.worker(unsettled=5)
    jobs = stage.enqueue(40)
    claimed = stage.claim(worker)
    stage.settle([end(job) for job in claimed[:3]], worker)
    stage.lose(worker)

    assert stage.rescue() == 37

    assert _suspects(stage) == jobs[3:18]
    again = stage.claim(stage.worker())
    assert ids(again) == jobs[3:]
    assert {job.attempt for job in again} == {1}


def test_suspects_that_wait_do_not_hide_those_that_began(stage: Stage) -> None:
    """Suspects wait for a child while jobs behind them in their lease are started: so they don't count among these, and
    they stay suspects. Red without the partition in rescue.sql."""
    lost, worker = stage.worker(), stage.worker(unsettled=5)
    before = stage.enqueue(20)
    stage.claim(lost)
    stage.lose(lost)
    stage.rescue()
    jobs = stage.enqueue(20)
    assert ids(stage.claim(worker)) == before + jobs
    stage.lose(worker)
    stage.rescue()

    assert _suspects(stage) == before + jobs[:15]


def test_three_crashes_alone_and_no_end_in_between(stage: Stage) -> None:
    """A suspect whose child dies is charged and stays a suspect; the third time it is dead with ``worker_lost``. An end
    of its own in between, a failure say, makes it innocent [DW-39]. Red without ``crashes_max`` in isolate.sql, and
    when rescue leaves the crashes of an earlier time."""
    [id] = stage.enqueue()
    _crash(stage, rescued=True)
    _crash(stage)
    _crash(stage, verdict="retry")
    assert _suspects(stage) == []
    _crash(stage, rescued=True)
    _crash(stage)
    assert stage.places() == {id: "ready"}
    assert _suspects(stage) == [id]
    _crash(stage)

    job = stage.main.run(get(id))
    assert job is not None
    assert (job.place, job.reason, job.attempt, job.error) == ("dead", "worker_lost", 6, "its child died\ncrash 3 of 3")
    assert stage.main.run(redrive(id))
    assert _suspects(stage) == []


def test_a_suspect_that_no_child_is_free_for_waits_uncharged(stage: Stage) -> None:
    """It goes back for a while as the suspect it is, with no attempt and no crash charged."""
    [id] = stage.enqueue()
    _crash(stage, rescued=True)
    for _ in range(4):
        _crash(stage, verdict="deferred")
    _crash(stage)

    standing = stage.standings()[id][0]
    assert (standing.place, standing.attempt, standing.rescues) == ("ready", 2, 1)


def _crash(stage: Stage, verdict: Verdict = "crashed", *, rescued: bool = False) -> None:
    """Claim the one job and end it so, after another worker was lost with it if ``rescued``; then it falls due."""
    if rescued:
        lost = stage.worker()
        stage.claim(lost)
        stage.lose(lost)
        stage.rescue()
    worker = stage.worker()
    assert stage.settle([end(job, verdict) for job in stage.claim(worker)], worker) == []
    stage.due()


def _suspects(stage: Stage) -> list[int]:
    return [id for (id,) in stage.main.sql("select id from perdure.job where rescues > 0 order by id")]


def test_a_job_that_loses_its_worker_again_waits_longer_each_time(stage: Stage) -> None:
    """The first rescue gives a job back at once, each further one in a row twice as late as the last, so that a poison
    job doesn't take worker after worker down without a pause [DW-53]. Red without the power of two in rescue.sql."""
    [id] = stage.enqueue()
    waits = []
    for _ in range(limits.RESCUES_MAX - 1):
        worker = stage.worker()
        assert len(stage.claim(worker)) == 1
        stage.lose(worker)
        [(before,)] = stage.main.sql("select clock_timestamp()")
        stage.rescue()
        waits += stage.main.sql(
            "select extract(epoch from run_at - clock_timestamp()), extract(epoch from run_at - %s) "
            "from perdure.scheduled where id = %s",
            [before, id],
        )
        stage.due()

    # It was rescued at some moment between the two, however far they are apart.
    expected = [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(waits) == len(expected)
    assert [wait for wait, (least, most) in zip(expected, waits, strict=True) if not least <= wait <= most] == []


def test_a_job_rescued_ten_times_goes_to_the_dead(stage: Stage) -> None:
    """A job whose worker was lost under it ten times in a row is dead with ``worker_lost``, its body kept and no
    attempt charged; it takes no eleventh worker down [DW-39]. Red without ``rescues_max`` in rescue.sql."""
    [id] = stage.enqueue()
    for _ in range(limits.RESCUES_MAX):
        assert stage.places() == {id: "ready"}
        worker = stage.worker()
        stage.claim(worker)
        stage.lose(worker)
        stage.rescue()
        stage.due()

    job = stage.main.run(get(id))
    assert job is not None
    assert (job.place, job.reason, job.attempt, job.rescues) == ("dead", "worker_lost", 0, limits.RESCUES_MAX)
    assert stage.claim(stage.worker()) == []


def test_an_end_of_its_own_clears_a_job_of_its_crashes(stage: Stage) -> None:
    """Only rescues in a row count: a job that failed by itself in between starts counting anew."""
    [id] = stage.enqueue()
    for _ in range(2):
        worker = stage.worker()
        stage.claim(worker)
        stage.lose(worker)
        stage.rescue()
        stage.due()
    worker = stage.worker()
    [job] = stage.claim(worker)
    stage.settle([end(job, "retry", delay=0.0)], worker)
    stage.due()

    assert stage.standings()[id][0].rescues == 0


def test_work_that_must_not_run_twice_goes_to_review(stage: Stage) -> None:
    """A job declared ``at_most_once`` whose worker was lost is not run again: it is dead with ``needs_review`` for a
    person to decide, while its mates run on [KIT-25]. Red without ``at_most_once`` in rescue.sql."""
    worker = stage.worker()
    [careful] = stage.enqueue(at_most_once=True)
    [mate] = stage.enqueue()
    stage.claim(worker)
    stage.lose(worker)

    assert stage.rescue() == 2

    assert stage.places() == {careful: "dead", mate: "ready"}
    job = stage.main.run(get(careful))
    assert job is not None
    assert job.reason == "needs_review"


def test_work_that_must_not_run_twice_and_can_t_have_begun_runs(stage: Stage) -> None:
    """Of ``at_most_once`` jobs that a worker had claimed ahead, only those go to review that may have begun: as many as
    it had slots, and may have had ends that weren't settled. The rest are ready again, and no suspects, so that whoever
    claims them starts them [KIT-25]. Red when the verdict doesn't ask who is a suspect."""
    worker = stage.worker(unsettled=5)
    jobs = stage.enqueue(40, at_most_once=True)
    stage.claim(worker)
    stage.lose(worker)

    assert stage.rescue() == 40

    assert stage.places() == {id: "dead" if id in jobs[:15] else "ready" for id in jobs}
    assert _suspects(stage) == jobs[:15]


def test_options_that_nobody_can_read_hold_up_no_rescue(stage: Stage) -> None:
    """A job whose stored options say neither yes nor no to ``at_most_once`` comes back as its mates do; an error would
    keep every lost lease from being rescued. Red when rescue.sql takes whatever stands there for a boolean."""
    worker = stage.worker()
    jobs = stage.enqueue(2)
    stage.main.sql("""update perdure.job set options = '{"at_most_once": "perhaps"}' where id = %s""", [jobs[0]])
    stage.claim(worker)
    stage.lose(worker)

    assert stage.rescue() == 2

    assert stage.places() == dict.fromkeys(jobs, "ready")


def test_a_settlement_in_flight_on_a_lost_lease_may_drop_it(stage: Stage) -> None:
    """A settlement that ends a lost lease's last jobs and drops its row meets a rescue that looks at that row: whoever
    comes second finds nothing left to do."""
    worker = stage.worker()
    jobs = stage.enqueue(2)
    claimed = stage.claim(worker)
    stage.lose(worker)
    settler = stage.session()

    settler.begin()
    stale = settler.run(settle([end(job) for job in claimed], worker.id, [claimed[0].lease.id]))
    assert stage.rescue() == 0
    settler.commit()

    assert ended(stale) == []
    assert stage.rescue() == 0
    assert stage.places() == dict.fromkeys(jobs, "history")
    assert stage.counts("lease") == 0
