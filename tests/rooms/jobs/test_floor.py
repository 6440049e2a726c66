"""The claim floor on real sessions: nothing that can still show up below it is forgotten.

A claimer's upkeep is made of separate statements (list the writers, list them again, probe). Each test puts somebody
else's transaction exactly between two of them.
"""

from __future__ import annotations

import pytest

from perdure.jobs.floors import Floor
from perdure.jobs.model import JobSpec
from perdure.jobs.ops.claim import look, probe, writers
from perdure.jobs.ops.enqueue import enqueue
from tests.rooms.jobs.stage import Member, Session, Stage, ids


def _raised(stage: Stage, member: Member) -> Floor:
    """The worker's floor after a candidate was noted and, with nobody in between, confirmed."""
    floor = member.floor(stage.queue)
    stage.tend(floor, 0.0)
    stage.tend(floor, 0.0)
    return floor


def _late(stage: Stage, jobs: int = 1, *, wake: bool = True) -> tuple[Session, list[int]]:
    """A transaction that has enqueued and stays open, and the ids it has drawn."""
    session = stage.session()
    session.begin()
    spec = JobSpec(task="work", payload="{}")
    return session, session.run(enqueue([spec] * jobs, wake=wake))


def test_a_floor_rises_to_what_was_claimed(stage: Stage) -> None:
    """With no writer about, two listings and an empty probe raise the floor to the last claimed position, and nothing
    is left to watch."""
    worker = stage.worker()
    jobs = stage.enqueue(5)
    stage.claim(worker)

    floor = _raised(stage, worker)

    assert floor.start(stage.queue * 4096 + 5) == jobs[-1]
    assert not floor.open


def test_a_straggler_is_found_when_its_guard_has_gone(stage: Stage) -> None:
    """A job whose transaction commits long after the floor has passed it is claimed after the next listing: the holder
    of the lock was the floor's guard. Red without the guards of a step."""
    worker = stage.worker()
    late, [straggler] = _late(stage)
    stage.enqueue(5)
    assert len(stage.claim(worker)) == 5
    floor = _raised(stage, worker)
    assert floor.start(stage.queue * 4096 + 5) > straggler

    assert stage.tend(floor, 0.0) is False
    late.commit()
    assert stage.claim(worker) == []
    assert stage.tend(floor, 0.0) is True

    assert stage.main.run(look([floor])).queues == {stage.queue}
    assert ids(stage.claim(worker)) == [straggler]
    stage.tend(floor, 0.0)
    assert not floor.open


def test_a_guard_that_rolls_back_leaves_nothing_to_watch(stage: Stage) -> None:
    """A writer that rolls back leaves no straggler; the step it guarded is done with after one probe."""
    worker = stage.worker()
    late, _ = _late(stage)
    stage.enqueue(5)
    stage.claim(worker)
    floor = _raised(stage, worker)
    assert floor.open

    late.rollback()
    assert stage.tend(floor, 0.0) is False

    assert not floor.open


@pytest.mark.parametrize("released", [True, False])
def test_a_subtransaction_is_a_guard(stage: Stage, released: bool) -> None:
    """A job enqueued in a savepoint, released or still open, is found after its transaction has committed."""
    worker = stage.worker()
    late = stage.session()
    late.begin()
    late.sql("savepoint inner_one")
    [straggler] = stage.enqueue(session=late)
    if released:
        late.sql("release savepoint inner_one")
    stage.enqueue(5)
    stage.claim(worker)
    floor = _raised(stage, worker)

    late.commit()
    stage.tend(floor, 0.0)

    assert ids(stage.claim(worker)) == [straggler]


def test_a_savepoint_rolled_back_inside_a_guard_hides_nothing(stage: Stage) -> None:
    """Of a transaction that took one enqueue back and kept another, the kept one is found."""
    worker = stage.worker()
    late = stage.session()
    late.begin()
    [kept] = stage.enqueue(session=late)
    late.sql("savepoint inner_one")
    stage.enqueue(3, session=late)
    late.sql("rollback to savepoint inner_one")
    stage.enqueue(5)
    stage.claim(worker)
    floor = _raised(stage, worker)

    late.commit()
    stage.tend(floor, 0.0)

    assert ids(stage.claim(worker)) == [kept]


@pytest.mark.parametrize("moment", ["before the first listing", "between the listings", "after the floor rose"])
def test_a_prepared_transaction_is_a_guard(stage: Stage, moment: str) -> None:
    """A two-phase transaction guards its job before and after it is prepared, whenever that happens and under whatever
    name pg_locks lists it. Red without the guards of a step."""
    worker = stage.worker()
    late, [straggler] = _late(stage, wake=False)
    stage.enqueue(5)
    stage.claim(worker)
    floor = worker.floor(stage.queue)

    for here in ("before the first listing", "between the listings", "after the floor rose"):
        if here == moment:
            late.sql("prepare transaction 'two_phases'")
        if here == "after the floor rose":
            assert floor.start(stage.queue * 4096 + 5) > straggler
        stage.tend(floor, 0.0)
    stage.main.sql("commit prepared 'two_phases'")
    stage.tend(floor, 0.0)

    assert ids(stage.claim(worker)) == [straggler]


def test_a_claim_in_flight_holds_the_floor_back(stage: Stage) -> None:
    """Rows that another claim has taken without having committed are visible to the probe: the floor stays, and when
    that claim rolls back its rows are claimed."""
    worker, other = stage.worker(), stage.worker("other")
    jobs = stage.enqueue(5)
    theirs = stage.session()
    theirs.begin()
    theirs.run(stage.claiming(other, 2))
    assert ids(stage.claim(worker)) == jobs[2:]

    floor = _raised(stage, worker)
    assert floor.start(stage.queue * 4096 + 5) == 0
    theirs.rollback()

    assert ids(stage.claim(worker)) == jobs[:2]


def test_a_claim_rolled_back_after_others_passed_it(stage: Stage) -> None:
    """Rows that a claim skipped because another one had locked them, and that came back before the first listing, are
    seen by the probe: nobody guards them. Red without the confirming probe."""
    worker, other = stage.worker(), stage.worker("other")
    jobs = stage.enqueue(5)
    theirs = stage.session()
    theirs.begin()
    theirs.run(stage.claiming(other, 2))
    assert ids(stage.claim(worker)) == jobs[2:]
    theirs.rollback()

    _raised(stage, worker)

    assert ids(stage.claim(worker)) == jobs[:2]


def test_a_row_locked_only_during_the_confirmation_is_seen(stage: Stage) -> None:
    """The case that a confirming *claim* would miss: a row passed over earlier is locked by a newcomer after the first
    listing, and comes back later. The probe reads without locking, so it sees it. Red without the confirming probe."""
    worker, other, newcomer = stage.worker(), stage.worker("other"), stage.worker("newcomer")
    jobs = stage.enqueue(5)
    first, second = stage.session(), stage.session()
    first.begin()
    first.run(stage.claiming(other, 2))
    stage.claim(worker)
    first.rollback()
    floor = worker.floor(stage.queue)

    assert floor.listed(stage.main.run(writers()), 0.0, 0.0) == []
    second.begin()
    second.run(stage.claiming(newcomer, 2))
    asked = floor.listed(stage.main.run(writers()), 1.0, 0.0)
    floor.probed(stage.main.run(probe(asked)))
    second.rollback()

    assert ids(stage.claim(worker)) == jobs[:2]


def test_a_cancel_rolled_back_below_the_floor_is_seen(stage: Stage) -> None:
    """A job whose cancel was in flight while the floor was confirmed, and is rolled back, can be claimed."""
    worker = stage.worker()
    jobs = stage.enqueue(3)
    cancelling = stage.session()
    cancelling.begin()
    cancelling.sql("delete from perdure.ready where id = %s", [jobs[0]])
    assert ids(stage.claim(worker)) == jobs[1:]
    _raised(stage, worker)
    cancelling.rollback()

    assert ids(stage.claim(worker)) == jobs[:1]


def test_a_failed_claim_leaves_no_row_below_the_floor(stage: Stage) -> None:
    """A straggler whose claim fails is found again: the steps are swept once more after a failure."""
    worker = stage.worker()
    late, [straggler] = _late(stage)
    stage.enqueue(5)
    stage.claim(worker)
    floor = _raised(stage, worker)
    late.commit()
    stage.tend(floor, 0.0)
    failing = stage.session()

    failing.begin()
    batch = failing.run(stage.claiming(worker))
    assert batch is not None
    assert ids(batch.jobs) == [straggler]
    failing.rollback()
    floor.failed()
    stage.tend(floor, 0.0)

    assert ids(stage.claim(worker)) == [straggler]


def test_other_databases_and_other_tables_hold_nobody_s_floor(stage: Stage) -> None:
    """Only who writes ready in this database is a guard: not a long transaction on another table, not a reader of
    ready, not a writer of a ready table elsewhere."""
    reader, elsewhere = stage.session(), stage.db.server.connect()
    reader.begin()
    reader.sql("select count(*) from perdure.ready")
    reader.sql("create table perdure.of_the_application (id int)")
    elsewhere.execute("create schema perdure")
    elsewhere.execute("create table perdure.ready (id int)")
    elsewhere.execute("begin; insert into perdure.ready values (1)")

    found = stage.main.run(writers())
    elsewhere.execute("rollback; drop schema perdure cascade")
    elsewhere.close()

    assert found == frozenset()


def test_a_floor_keeps_lanes_apart(stage: Stage) -> None:
    """Each priority is a lane with a floor of its own: a straggler in one is found although another has gone far."""
    worker = stage.worker()
    late = stage.session()
    late.begin()
    [straggler] = stage.enqueue(session=late, priority=0)
    stage.enqueue(3, priority=0)
    stage.enqueue(3, priority=9)
    assert len(stage.claim(worker)) == 6
    floor = _raised(stage, worker)
    late.commit()
    stage.tend(floor, 0.0)

    again = stage.enqueue(1, priority=9)
    assert ids(stage.claim(worker)) == [straggler, *again]
