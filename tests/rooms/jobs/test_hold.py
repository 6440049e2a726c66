"""A job that a handler's transaction holds: rescue leaves it alone, and its end is written under the same fence."""

from __future__ import annotations

import pytest

from perdure.core.errors import OwnershipLost
from perdure.jobs.ops.control import cancel
from perdure.jobs.ops.rescue import close_leases
from perdure.jobs.ops.settle import complete, complete_unheld, hold
from tests.rooms.jobs.stage import Stage, end, ended


def test_a_held_job_does_not_hold_up_its_mates(stage: Stage) -> None:
    """The worker of an open handler's transaction is declared dead: the mates of its job are rescued at once, the job
    itself is not, it completes in that transaction, and its lease goes after that. Red when the hold takes no lock,
    and when rescue waits for locks."""
    worker = stage.worker()
    low, held, high = stage.enqueue(3)
    jobs = stage.claim(worker)
    handler = stage.session()
    handler.begin()
    handler.run(hold(jobs[1]))
    stage.lose(worker)

    rescued = stage.rescue()
    meanwhile = stage.places()
    handler.run(complete(end(jobs[1])))
    handler.commit()
    stage.main.run(close_leases())

    assert (rescued, meanwhile) == (2, {low: "ready", held: "leased", high: "ready"})
    assert stage.places() == {low: "ready", held: "history", high: "ready"}
    assert stage.counts("lease") == 0


def test_a_held_job_whose_transaction_ends_without_it_is_rescued(stage: Stage) -> None:
    """Once the transaction of a dead worker's handler is gone, the next rescue has its job. Red when rescue forgets a
    lease it could not empty."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    handler = stage.session()
    handler.begin()
    handler.run(hold(job))
    stage.lose(worker)

    assert stage.rescue() == 0
    handler.rollback()

    assert stage.rescue() == 1
    assert stage.places() == {id: "ready"}


def test_a_server_that_lacks_the_claim_lets_no_handler_s_transaction_hold_its_job(stage: Stage) -> None:
    """The server that took over has the job in ready, under the generation that was claimed, and has given the number
    of its lease to another claim of the same worker: a handler that still runs is refused at its block's beginning, and
    by ``complete`` on a session of its own; the job stands in one place [DW-41]. Red when only the generation is asked
    for."""
    worker = stage.worker()
    [id] = stage.enqueue()
    stage.main.begin()
    [job] = stage.claim(worker)
    stage.main.rollback()
    [mate] = stage.enqueue(priority=0)
    stage.main.sql(f"alter table perdure.lease alter column id restart with {job.lease.id}")
    stage.claim(worker, 1)
    handler = stage.session()

    for refused in (hold(job), complete_unheld(end(job))):
        handler.begin()
        with pytest.raises(OwnershipLost):
            handler.run(refused)
        handler.commit()
    assert stage.places() == {id: "ready", mate: "leased"}


def test_who_lost_the_job_neither_holds_nor_completes_it(stage: Stage) -> None:
    """A handler of a former generation is refused at its block's beginning and at its end, and nothing is written
    [DW-41, DW-107]. Red when either statement doesn't name the generation."""
    frozen, other = stage.worker("frozen"), stage.worker("other")
    [id] = stage.enqueue()
    [old] = stage.claim(frozen)
    stage.lose(frozen)
    stage.rescue()
    [new] = stage.claim(other)

    with pytest.raises(OwnershipLost) as held:
        stage.main.run(hold(old))
    with pytest.raises(OwnershipLost):
        stage.main.run(complete(end(old)))

    assert held.value.job_id == id
    assert stage.places() == {id: "leased"}
    stage.main.run(complete(end(new)))
    assert stage.places() == {id: "history"}


def test_an_end_of_its_own_worker_does_not_wait_for_the_block(stage: Stage) -> None:
    """A job that times out while its thread sits in a block is tried again without waiting for it, a cancel is written
    down meanwhile, and the block can't complete the job any more. Red when the hold locks for update."""
    worker = stage.worker()
    [id] = stage.enqueue()
    [job] = stage.claim(worker)
    handler = stage.session()
    handler.begin()
    handler.run(hold(job))

    stage.main.sql("set lock_timeout = '10s'")
    assert stage.main.run(cancel(id)) == "requested"
    assert ended(stage.settle([end(job, "retry")], worker)) == []
    with pytest.raises(OwnershipLost):
        handler.run(complete(end(job)))
    handler.rollback()

    assert stage.places() == {id: "scheduled"}
