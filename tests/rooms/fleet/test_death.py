"""A claim proves its worker alive under a lock, so that no job is ever handed to a worker that is being buried."""

from __future__ import annotations

from datetime import datetime

import pytest

from perdure.core import limits
from perdure.core.op import Op
from perdure.fleet.ops import workers
from perdure.jobs.floors import Floor
from perdure.jobs.ops.claim import claim
from perdure.jobs.ops.leases import leases
from perdure.jobs.ops.settle import settle
from tests.rooms.jobs.stage import Stage, end, ids


def test_declaring_dead_waits_for_a_claim_in_flight(stage: Stage) -> None:
    """A claim that commits while its worker is being declared dead is seen by the rescue that follows: the declaration
    waits for it, and the leases are read by a later statement [DW-3].

    Red without ``for key share`` in claim.sql, or without ``for update`` in expired.sql.
    """
    worker = stage.worker()
    jobs = stage.enqueue(3)
    claiming, burying = stage.session(), stage.session()

    claiming.begin()
    claiming.run(stage.claiming(worker))
    stage.silence(worker)
    burying.begin()
    declared = burying.start(workers.declare_dead(worker.id))
    stage.blocked(burying, by=claiming)
    claiming.commit()
    assert declared.result() == "w"
    burying.commit()

    assert stage.rescue() == 3
    assert stage.places() == dict.fromkeys(jobs, "ready")


def test_a_claim_that_meets_its_own_burial_gets_nothing(stage: Stage) -> None:
    """A claim sent while its worker is being declared dead waits, finds itself dead, and takes nothing.

    Red without ``for key share`` in claim.sql: the claim would not wait, and take jobs that nobody rescues.
    """
    worker = stage.worker()
    jobs = stage.enqueue(3)
    claiming, burying = stage.session(), stage.session()

    stage.silence(worker)
    burying.begin()
    burying.run(workers.declare_dead(worker.id))
    taking = claiming.start(stage.claiming(worker))
    stage.blocked(claiming, by=burying)
    burying.commit()

    assert taking.result() is None
    assert stage.places() == dict.fromkeys(jobs, "ready")
    assert stage.counts("lease") == 0


def test_a_claim_whose_burial_is_called_off_goes_through(stage: Stage) -> None:
    """When the declaration is rolled back the waiting claim takes its jobs."""
    worker = stage.worker()
    jobs = stage.enqueue(3)
    claiming, burying = stage.session(), stage.session()

    stage.silence(worker)
    burying.begin()
    burying.run(workers.declare_dead(worker.id))
    taking = claiming.start(stage.claiming(worker))
    stage.blocked(claiming, by=burying)
    burying.rollback()

    batch = taking.result()
    assert batch is not None
    assert ids(batch.jobs) == jobs


def test_only_a_living_worker_claims(stage: Stage) -> None:
    """Draining, left, dead and unknown workers take nothing. Red without ``state = 'alive'`` in claim.sql."""
    draining, left, dead = stage.worker("draining"), stage.worker("left"), stage.worker("dead")
    stage.main.run(workers.drain(draining.id))
    stage.main.run(workers.leave(left.id))
    stage.lose(dead)
    jobs = stage.enqueue(3)

    for worker in (draining, left, dead):
        assert stage.claim(worker) == []
    unknown = stage.main.run(claim(10_000, 0, stage.queue, Floor(tuple(left.floor(stage.queue).lanes)), 10))
    assert unknown is None
    assert stage.places() == dict.fromkeys(jobs, "ready")


def test_a_draining_worker_keeps_its_leases(stage: Stage) -> None:
    """A worker that drains still beats, so nobody rescues what it runs, and its ends count [DW-30]."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    stage.main.run(workers.drain(worker.id))
    stage.silence(worker)
    beat = stage.main.run(workers.beat(worker.id))

    assert beat is not None
    assert beat.state == "draining"
    assert not stage.main.run(workers.declare_dead(worker.id))
    assert stage.rescue() == 0
    assert stage.settle([end(job)], worker) == []
    assert stage.places() == {id: "history"}


def test_draining_waits_for_a_claim_in_flight(stage: Stage) -> None:
    """Once a worker has said that it drains, no claim of its own commits any more: what it reads of its leases then is
    all it has to give back. Red without ``for update`` in drain.sql: an update alone doesn't wait for a claim."""
    worker = stage.worker()
    jobs = stage.enqueue(3)
    claiming, draining = stage.session(), stage.session()

    claiming.begin()
    claiming.run(stage.claiming(worker))
    waiting = draining.start(workers.drain(worker.id))
    stage.blocked(draining, by=claiming)
    claiming.commit()

    assert waiting.result() is True
    [held] = stage.main.run(leases(worker.id))
    assert [id for id, _ in held.jobs] == jobs


def test_one_beat_keeps_every_job_of_every_lease(stage: Stage) -> None:
    """A job that waits in a claimed batch behind slow ones can't lose its lease before it starts: the worker's one beat
    keeps whatever it holds, started or not [DW-51]. Red when declare_dead.sql or expired.sql forgets ``expires_at``."""
    worker = stage.worker()
    jobs = stage.enqueue(50)
    stage.claim(worker, 25)
    stage.claim(worker, 25)

    stage.silence(worker)
    assert stage.main.run(workers.beat(worker.id)) is not None
    with stage.main.conn.transaction():
        assert stage.main.run(workers.declare_dead(worker.id)) is None

    assert stage.rescue() == 0
    assert stage.places() == dict.fromkeys(jobs, "leased")


def test_beats_and_claims_do_not_wait_for_each_other(stage: Stage) -> None:
    """A beat passes while a claim of the same worker is in flight, and a claim while a beat is; red when the claim's
    lock on the worker's row is stronger than key share."""
    worker = stage.worker()
    stage.enqueue(2)
    claiming, beating = stage.session(), stage.session()
    beating.sql("set lock_timeout = '20s'")
    claiming.sql("set lock_timeout = '20s'")

    claiming.begin()
    claiming.run(stage.claiming(worker, 1))
    assert beating.run(workers.beat(worker.id)) is not None
    claiming.commit()

    beating.begin()
    beating.run(workers.beat(worker.id))
    assert len(stage.claim(worker, 1, session=claiming)) == 1
    beating.commit()


def test_a_worker_declared_dead_is_told_by_its_next_beat(stage: Stage) -> None:
    """A dead worker's beat writes nothing and says so; it doesn't come back to life."""
    worker = stage.worker()
    stage.lose(worker)

    assert stage.main.run(workers.beat(worker.id)) is None
    assert stage.main.run(workers.reincarnate(worker.id, 1)) is None
    assert not stage.main.run(workers.leave(worker.id))
    assert stage.main.sql("select state from perdure.worker") == [("dead",)]


def test_an_earlier_incarnation_claims_nothing(stage: Stage) -> None:
    """After a reconnect, a claim sent on the old connection takes nothing. Red without ``incarnation = …`` in
    claim.sql."""
    worker = stage.worker()
    stage.enqueue()
    outdated = stage.claiming(worker)
    incarnation = stage.main.run(workers.reincarnate(worker.id, 1))

    assert stage.main.run(outdated) is None
    assert incarnation == worker.incarnation + 1
    worker.incarnation = incarnation
    assert len(stage.claim(worker)) == 1


def test_a_new_incarnation_waits_for_its_own_claim_and_finds_it(stage: Stage) -> None:
    """A worker that lost its connection during a claim waits for that claim's outcome, and a later statement reads the
    lease it was never told of; given back, its jobs lose no attempt [DW-3].

    Red without ``for update`` in reincarnate.sql.
    """
    worker = stage.worker()
    jobs = stage.enqueue(3)
    lost, fresh = stage.session(), stage.session()

    lost.begin()
    lost.run(stage.claiming(worker))
    waiting = fresh.start(workers.reincarnate(worker.id, 1))
    stage.blocked(fresh, by=lost)
    lost.commit()
    assert waiting.result() == 1

    [held] = fresh.run(leases(worker.id))
    assert held.jobs == tuple((id, 0) for id in jobs)


def test_an_incarnation_that_comes_late_outdates_nothing(stage: Stage) -> None:
    """A worker whose request for a new incarnation was lost asks for the next one; the lost one, carried out only then,
    changes nothing, and the worker's claims go on. Red when an incarnation is counted up by whatever comes last: the
    worker lives, beats, and claims nothing ever after."""
    worker = stage.worker()
    stage.enqueue()
    worker.incarnation = stage.main.run(workers.reincarnate(worker.id, 2)) or 0
    late = stage.main.run(workers.reincarnate(worker.id, 1))

    assert (worker.incarnation, late) == (2, None)
    assert len(stage.claim(worker)) == 1


def test_a_lease_shows_what_is_still_in_it(stage: Stage) -> None:
    """Of a lease that lists jobs which have left, only those that are still in it are shown to its worker."""
    worker = stage.worker()
    stage.enqueue(3)
    first, second, third = stage.claim(worker)
    stage.main.run(settle([end(first)], worker.id))
    stage.main.run(settle([end(second, "retry")], worker.id))

    [held] = stage.main.run(leases(worker.id))

    assert held.jobs == ((third.id, third.generation),)


@pytest.mark.parametrize(
    "op",
    [
        workers.register(name="w", host="h", pid=1, slots=1, queues=["default"]),
        workers.beat(1),
        workers.declare_dead(1),
        claim(1, 0, 1, Floor((4096,)), 10),
    ],
    ids=["register", "beat", "declare_dead", "claim"],
)
def test_no_worker_s_clock_reaches_the_database(op: Op[object]) -> None:
    """What decides over life and death is timed by the database's clock alone: a worker sends no moment, only how long
    a beat is good for [DW-35]."""
    call = next(op)

    assert not [value for value in call.params.values() if isinstance(value, datetime)]
    assert call.params.get("dead_seconds", limits.DEAD_SECONDS) == limits.DEAD_SECONDS
    op.close()


def test_a_beat_is_good_for_the_time_it_says_by_the_database_s_clock(stage: Stage) -> None:
    """A beat moves the worker's end of life to the database's present plus the configured seconds [DW-35]."""
    worker = stage.worker()
    stage.silence(worker)
    stage.main.begin()
    stage.main.run(workers.beat(worker.id))
    [(seconds,)] = stage.main.sql(
        "select extract(epoch from expires_at - now())::float8 from perdure.worker where id = %s", [worker.id]
    )
    stage.main.rollback()

    assert limits.DEAD_SECONDS <= seconds < limits.DEAD_SECONDS + 60


def test_workers_are_forgotten_only_when_they_hold_nothing(stage: Stage) -> None:
    """Pruning leaves a lost worker that still has a lease, so that rescue can say whose it was."""
    holding, idle = stage.worker("holding"), stage.worker("idle")
    stage.enqueue()
    stage.claim(holding)
    stage.lose(holding)
    stage.lose(idle)
    stage.main.sql("update perdure.worker set ended_at = ended_at - interval '2 days'")

    stage.main.run(workers.prune(1))

    assert [worker.name for worker in stage.main.run(workers.list_workers())] == ["holding"]
