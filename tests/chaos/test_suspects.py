"""Jobs that take their process with them: the innocent pay nothing, the guilty die alone."""

from __future__ import annotations

from tests.chaos.floor import Floor, until
from tests.chaos.shop import murder, serve


def test_one_poison_job_among_two_hundred_innocents(floor: Floor) -> None:
    """A job that kills its process takes one worker down, once. Every innocent job completes in its first attempt; the
    poison dies alone three times and is dead with ``worker_lost``, three attempts charged, the signal named; the worker
    that remains lives on, and the other is never missed again [OPS-71, OPS-72, DW-39].

    Red when suspects run in the worker, when rescue charges, and without ``crashes_max`` in isolate.sql.
    """
    innocents = floor.enqueue(*[serve.job(0.05) for _ in range(100)])
    (poison,) = floor.enqueue(murder.job())
    innocents += floor.enqueue(*[serve.job(0.05) for _ in range(100)])
    workers = [floor.worker("--queues", "default:20") for _ in range(2)]
    until(lambda: any(worker.ended for worker in workers), floor.logs)
    floor.until_true("select exists (select from perdure.dead where id = %s)", poison)
    floor.until_finished(innocents)

    assert floor.rows("select reason, attempt, error from perdure.jobs where id = %s", poison) == [
        ("worker_lost", 3, "the child that ran it alone was killed by SIGKILL\ncrash 3 of 3")
    ]
    assert sorted(worker.ended for worker in workers) == [False, True]
    ended = floor.rows("select id, outcome, attempt from perdure.history order by id")
    assert ended == [(id, "completed", 1) for id in innocents]
    assert floor.rows("select ending from perdure.attempt where job = %s order by ended_at", poison) == [
        ("rescued",), ("retry",), ("retry",), ("dead",)
    ]  # fmt: skip
    assert floor.value("select count(*) from perdure.worker where state = 'dead'") == 1
