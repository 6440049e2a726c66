"""A worker's jobs taken from it by hand."""

from __future__ import annotations

from perdure import Client
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
