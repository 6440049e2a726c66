"""Jobs that take their process with them: the innocent pay nothing, the guilty die alone."""

from __future__ import annotations

import os
from pathlib import Path

from perdure import Client
from tests.chaos import poison
from tests.chaos.floor import Floor, Process, until
from tests.chaos.shop import murder, serve, stay
from tests.chaos.traces import TABLES


def test_one_poison_job_among_two_hundred_innocents(floor: Floor) -> None:
    """A job that kills its process takes one worker down, once. Every innocent job completes in its first attempt; the
    poison dies alone three times and is dead with ``worker_lost``, three attempts charged, the signal named; the worker
    that remains lives on, and the other is never missed again [OPS-71, OPS-72, DW-39].

    Red when suspects run in the worker, when rescue charges, and without ``crashes_max`` in isolate.sql.
    """
    workers = [floor.worker("--queues", "default:20", lasting=True) for _ in range(2)]
    innocents = floor.enqueue(*[serve.job(0.05) for _ in range(100)])
    (poison,) = floor.enqueue(murder.job())
    innocents += floor.enqueue(*[serve.job(0.05) for _ in range(100)])
    _bury_one(floor, workers)
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


def test_a_suspect_whose_worker_is_killed_dies_with_it_uncharged(floor: Floor, tmp_path: Path) -> None:
    """A worker is killed while a suspect runs alone there: its child is gone with it, nobody knows who was guilty, and
    so the job is charged nothing and stays a suspect, which the next worker runs alone [KIT-36]. Red when a child
    outlives the fork server, or that one the worker."""
    told = tmp_path / "pid"
    (id,) = floor.enqueue(stay.job(str(told)))
    floor.conn.execute("update perdure.job set rescues = 1")
    victim = floor.worker(lasting=True)
    until(lambda: told.exists() and told.read_text() != "", floor.logs)
    pid = int(told.read_text())
    told.unlink()
    victim.kill()
    until(lambda: _gone(pid), floor.logs)
    floor.bury(victim)
    floor.relief()
    until(lambda: told.exists() and told.read_text() != "", floor.logs)

    assert floor.rows("select rescues, attempt, crashes from perdure.job where id = %s", id) == [(2, 0, None)]
    assert int(told.read_text()) != floor.processes[-1].pid
    assert floor.rows("select ending, error from perdure.attempt where job = %s", id) == [("rescued", "suspect")]


def test_one_poison_run_among_innocent_runs_and_jobs(floor: Floor) -> None:
    """A step that kills its process takes one worker down, once. The other runs and jobs that it took along complete,
    uncharged, with one row for each transaction, and nothing that was recorded is done again; the guilty run dies alone
    three times and is dead with ``worker_lost``, the signal and the function named, what it had recorded before done
    once; the worker that remains lives on [OPS-71, KIT-36, DW-190].

    Red when runs that are suspects are driven in the worker.
    """
    floor.conn.execute(TABLES)
    options = ("--queues", "default:20")
    workers = [floor.worker(*options, app="tests.chaos.poison:app", lasting=True) for _ in range(2)]
    with Client(floor.db.url) as client:
        jobs = floor.enqueue(*[poison.nap.job(0.05) for _ in range(50)])
        client.workflows.start_many((poison.order.run(), f"a{each}") for each in range(20))
        client.workflows.start(poison.poison.run(), id="poison")
        client.workflows.start_many((poison.order.run(), f"b{each}") for each in range(20))
        jobs += floor.enqueue(*[poison.nap.job(0.05) for _ in range(50)])
        _bury_one(floor, workers)
        until(lambda: client.workflows.get("poison").state == "failed", floor.logs)
        orders = [f"{each}{number}" for each in "ab" for number in range(20)]
        assert [client.workflows.wait(id, timeout=60) for id in orders] == [["reserve", "send"]] * 40
        dead = client.workflows.get("poison")
    floor.until_finished(jobs)

    said = "the child that ran it alone was killed by SIGKILL, in tests.chaos.poison:murder\ncrash 3 of 3"
    assert (dead.reason, dead.error, dead.ended_at is None) == ("worker_lost", said, False)
    assert sorted(worker.ended for worker in workers) == [False, True]
    assert floor.value("select count(*) from perdure.worker where state = 'dead'") == 1
    assert floor.rows("select distinct outcome, attempt from perdure.history") == [("completed", 1)]
    assert floor.rows("select step, count(*) from tried where run = 'poison' group by step order by step") == [
        ("charge", 1), ("murder", 4), ("reserve", 1)]  # fmt: skip
    assert floor.value("select count(*) from paid") == 40
    again = "join perdure.step s on s.run = r.job and s.name = t.step and t.at > s.ended_at"
    assert floor.rows(f"select t.run, t.step from tried t join perdure.run r on r.id = t.run {again}") == []


def _bury_one(floor: Floor, workers: list[Process]) -> None:
    """Wait until one of them has ended, and not for its silence to be noticed."""
    until(lambda: any(worker.ended for worker in workers), floor.logs)
    floor.bury(next(worker for worker in workers if worker.ended))


def _gone(pid: int) -> bool:
    """Whether it has ended; what is left of it may wait for somebody to collect it."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True
