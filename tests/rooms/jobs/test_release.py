"""A worker's jobs taken from it by hand."""

from __future__ import annotations

import pytest

from perdure import AsyncClient, Client
from perdure.core.errors import InvalidOption
from perdure.fleet.model import UnknownWorker
from tests.conftest import Database
from tests.rooms.jobs.stage import Stage, end, ended, ids


def test_a_lease_released_by_hand_is_nobody_s_and_its_holder_stale(stage: Stage) -> None:
    """A person releases what a worker holds, of any generation, although the worker is alive: the jobs are ready again
    and uncharged, the attempt log keeps the reason, and what the worker still settles is refused [DW-54]. Red without
    the new generation."""
    jobs = stage.enqueue(4)
    me, other = stage.worker(), stage.worker("other")
    claimed = stage.claim(me, 2)
    stage.settle([end(claimed[0], "returned")], me)
    held = [claimed[1], *stage.claim(me, 3)]

    with Client(stage.db.url) as client:
        released = client.workers.release(me.id, reason="it makes no progress")
        again = client.workers.release(me.id, reason="once more")

    assert (released, again) == (4, 0)
    assert stage.places() == dict.fromkeys(jobs, "ready")
    assert stage.main.sql("select distinct attempt, rescues from perdure.job") == [(0, 0)]
    logged = "select job from perdure.attempt where ending = 'returned' and error = 'it makes no progress'"
    assert sorted(id for (id,) in stage.main.sql(logged)) == sorted(ids(held))
    assert sorted(ended(stage.settle([end(job) for job in held], me))) == sorted(ids(held))
    assert sorted(ids(stage.claim(other, 10))) == sorted(jobs)


def test_what_must_not_run_twice_is_released_to_a_person(stage: Stage) -> None:
    """A job that must not run twice, and may have begun, isn't made ready by a release: it is dead with
    ``needs_review`` and the reason, uncharged, while its mates are ready [KIT-25]. Red when a release gives back
    whatever it finds."""
    [careful] = stage.enqueue(at_most_once=True)
    [mate] = stage.enqueue()
    me = stage.worker()
    stage.claim(me, 2)

    with Client(stage.db.url) as client:
        released = client.workers.release(me.id, reason="it makes no progress")
        job = client.jobs.get(careful)

    assert released == 2
    assert stage.places() == {careful: "dead", mate: "ready"}
    assert (job.reason, job.attempt) == ("needs_review", 0)
    assert "it makes no progress" in str(job.error)


async def test_a_worker_that_never_was_is_not_released_from(db: Database) -> None:
    """Who mistypes a worker's id hears that there is none, and not that it held nothing. Red when nobody asks."""
    with Client(db.url) as client, pytest.raises(UnknownWorker, match="worker 4711: there is none"):
        client.workers.release(4711, reason="it makes no progress")
    async with AsyncClient(db.url) as client_:
        with pytest.raises(UnknownWorker, match="worker 4711: there is none"):
            await client_.workers.release(4711, reason="it makes no progress")
        with pytest.raises(InvalidOption, match="worker: 0 is not allowed"):
            await client_.workers.release(0, reason="it makes no progress")
