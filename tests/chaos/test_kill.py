"""Workers that die, freeze or leave in the middle of a batch. Times are printed; the bounds are wide."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from perdure.core import limits
from tests.chaos.floor import LASTING, Floor, Process, until
from tests.chaos.shop import count_for_ever, hog, nothing, sell, serve, serve_until_told, stand_at

WHOLE_SECONDS_MAX = 15.0
"""Three times what is promised at default settings, for a machine that does other things."""


def _begun(floor: Floor, process: Process, count: int) -> None:
    """Wait until so many jobs run in that process."""
    floor.until_true("select count(*) = %s from effect where what = 'begun' and pid = %s", count, process.pid)


def _begun_again(floor: Floor, count: int) -> None:
    """Wait until so many jobs run after a rescue: in children, since nobody knows who was guilty."""
    floor.until_true("select count(*) = %s from effect where what = 'begun' and generation > 0", count)


def test_the_jobs_of_a_killed_worker_run_elsewhere_uncharged(floor: Floor) -> None:
    """Kill -9 in the middle of a batch: everything that worker held runs on another within seconds, no attempt is
    charged, and each job is settled once [DW-3, DW-47, DW-30]. Red without rescue."""
    ids = floor.enqueue(*[serve_until_told.job() for _ in range(8)])
    victim = floor.worker("--queues", "default:20")
    _begun(floor, victim, 8)
    floor.relief("--queues", "default:50")
    killed = floor.now()
    victim.kill()
    _begun_again(floor, 8)
    floor.conn.execute("insert into told values (true)")
    floor.until_finished(ids)
    took = floor.first("begun", killed)
    floor.recovered("kill -9 in a batch: its jobs run elsewhere", took)

    floor.assert_settled_once(ids)
    assert took < WHOLE_SECONDS_MAX
    assert floor.rows("select distinct attempt, rescues from perdure.history") == [(1, 1)]
    assert floor.effects("ended") == dict.fromkeys(ids, 1)
    assert floor.value("select state from perdure.worker where pid = %s", victim.pid) == "dead"


def test_a_terminated_worker_burns_no_attempt_and_lets_no_lease_expire(floor: Floor) -> None:
    """SIGTERM under load, three times over, each worker relieved by the next: each job is settled once in its first
    attempt, nothing is rescued, every worker has left by itself with 0 [KIT-41, DW-111, DW-30]. Red when a drain leaves
    its leases to rescue."""
    ids: list[int] = []
    codes, running = [], floor.worker("--queues", "default:20", lasting=True)
    for _ in range(3):
        ids += floor.enqueue(*[serve.job(0.05) for _ in range(200)])
        _more_begun(floor, running)
        relief = floor.relief("--queues", "default:20")
        # However long that took, there is work when the one is told to leave, and some for the other.
        ids += floor.enqueue(*[serve.job(0.05) for _ in range(300)])
        codes.append(running.stop())
        running = relief
    floor.until_finished(ids)
    codes.append(running.stop())

    floor.assert_settled_once(ids)
    assert codes == [0, 0, 0, 0]
    assert floor.rows("select distinct attempt, rescues from perdure.history") == [(1, 0)]
    assert floor.effects("ended") == dict.fromkeys(ids, 1)
    assert floor.rows("select distinct state from perdure.worker") == [("left",)]


def _more_begun(floor: Floor, process: Process) -> None:
    floor.until_true("select count(*) > 50 from effect where what = 'begun' and pid = %s", process.pid)


@pytest.mark.newest
def test_a_handler_past_the_deadline_forces_the_exit_code_and_goes_back(floor: Floor) -> None:
    """A worker told to stop whose handler doesn't end in time leaves with 1, its job is back at once, uncharged, and
    the next worker runs it [KIT-41, KIT-42]."""
    (id,) = floor.enqueue(serve_until_told.job())
    first = floor.worker("--drain-timeout", "0.2", lasting=True)
    _begun(floor, first, 1)
    code = first.stop()
    back = floor.rows("select place, attempt, rescues from perdure.jobs")
    floor.conn.execute("insert into told values (true)")
    floor.relief()
    floor.until_finished([id])

    assert code == 1
    assert back == [("ready", 0, 0)]
    floor.assert_settled_once([id])


def test_a_frozen_worker_that_wakes_up_is_refused_as_stale(floor: Floor, tmp_path: Path) -> None:
    """SIGSTOP between a handler's end and its settlement, past the trust window; another worker has the job in its
    hands; SIGCONT: the late settlement changes nothing, is counted and logged with both generations, and the worker
    begins anew; the other one's settlement is the only one [DW-41, DW-44, DW-43]. Red without the generation in the
    settlement."""
    gate = tmp_path / "gate"
    (id,) = floor.enqueue(stand_at.job(str(gate)))
    # Stopped from within, so that the settlement is what it wakes up with, and not the news that it is dead.
    frozen = floor.worker(PERDURE_FAULT="settle.before_flush:stop")
    _begun(floor, frozen, 1)
    row = floor.row(frozen)
    gate.touch()
    until(lambda: frozen.frozen, frozen.said)
    gate.unlink()
    stopped = floor.now()
    other = floor.relief()
    _begun_again(floor, 1)
    took = floor.first("begun", stopped)
    other.signal(signal.SIGSTOP)
    frozen.signal(signal.SIGCONT)
    until(lambda: "stale: job" in frozen.said(), frozen.said)
    until(lambda: floor.row(frozen) != row, frozen.said)
    settled_by_then = floor.rows("select id from perdure.history")
    other.signal(signal.SIGCONT)
    gate.touch()
    floor.until_finished([id])
    floor.recovered("SIGSTOP: its job runs elsewhere", took)

    assert settled_by_then == []
    assert f"stale: job {id} was claimed as generation 0" in frozen.said()
    assert floor.rows("select generation from perdure.history") == [(1,)]
    floor.assert_settled_once([id])
    assert took < WHOLE_SECONDS_MAX
    # It goes on as a new worker.
    other.stop()
    (after,) = floor.enqueue(sell.job())
    floor.until_finished([after])


@pytest.mark.newest
def test_a_handler_that_holds_the_interpreter_loses_no_lease(floor: Floor, tmp_path: Path) -> None:
    """A handler that keeps the loop and the interpreter for longer than a worker may be silent is not taken for dead:
    beats are heard all the while, so that its time is not over, no rescue, one run, although another worker watches;
    there are three beats in the time that others wait [DW-51, DW-101, DW-103]. Red when the loop has to beat."""
    assert limits.BEAT_SECONDS <= limits.DEAD_SECONDS / 3
    enough = tmp_path / "enough"
    ids = floor.enqueue(hog.job(str(enough)), sell.job())
    busy = floor.worker("--queues", "default:2", lasting=True)
    _begun(floor, busy, 1)
    until_when = "select expires_at from perdure.worker where pid = %s"
    first = floor.value(until_when, busy.pid)
    floor.relief()
    span = timedelta(seconds=limits.DEAD_SECONDS)
    until(lambda: floor.value(until_when, busy.pid) > first + span, floor.logs)
    enough.touch()
    floor.until_finished(ids)

    floor.assert_settled_once(ids)
    assert floor.effects("begun") == {ids[0]: 1}
    assert floor.rows("select distinct rescues, attempt from perdure.history") == [(0, 1)]
    assert floor.value("select count(*) from perdure.worker where state = 'dead'") == 0


@pytest.mark.newest
def test_a_killed_child_fails_its_own_attempt_only(floor: Floor, tmp_path: Path) -> None:
    """Kill -9 of a process handler's child: that job's attempt has failed with that reason, and its worker lives on
    with its other jobs [KIT-36]. Red when a broken child reaches the loop, or can't be started from ``-m``."""
    told = tmp_path / "child"
    (id,) = floor.enqueue(count_for_ever.job(str(told)))
    others = floor.enqueue(*[sell.job() for _ in range(20)])
    worker = floor.worker(lasting=True)
    until(lambda: told.exists() and told.read_text(), floor.logs)
    os.kill(int(told.read_text()), signal.SIGKILL)
    floor.until_true("select exists (select from perdure.dead where id = %s)", id)
    floor.until_finished(others)

    assert "the child process was killed by SIGKILL" in str(floor.value("select error from perdure.dead"))
    assert not worker.ended
    assert floor.effects("sold") == dict.fromkeys(others, 1)


def test_two_workers_of_one_name_are_two_workers(floor: Floor) -> None:
    """Two workers with the same name have rows, leases and fences of their own: killing one leaves the other's jobs
    alone, and gives it the first one's. Red when leases are held by name."""
    ids = floor.enqueue(*[serve_until_told.job() for _ in range(8)])
    twin = f"{LASTING} twin"
    one = floor.worker("--name", twin, "--queues", "default:4")
    _begun(floor, one, 4)
    two = floor.worker("--name", twin, "--queues", "default:8")
    _begun(floor, two, 4)
    one.kill()
    floor.conn.execute("update perdure.worker set expires_at = clock_timestamp() where pid = %s", [one.pid])
    _begun_again(floor, 4)
    floor.conn.execute("insert into told values (true)")
    floor.until_finished(ids)

    floor.assert_settled_once(ids)
    assert floor.rows("select name, state from perdure.worker order by id") == [(twin, "dead"), (twin, "alive")]
    assert sorted(floor.rows("select rescues, count(*) from perdure.history group by 1")) == [(0, 4), (1, 4)]


def test_idle_workers_survive_each_other(floor: Floor) -> None:
    """Killed while idle, a worker leaves nothing to clean up but its row, and work goes on at once on the other."""
    one, two = floor.worker(), floor.relief()
    one.kill()
    ids = floor.enqueue(*[nothing.job() for _ in range(100)])
    floor.until_finished(ids)
    floor.until_true("select state = 'dead' from perdure.worker where pid = %s", one.pid)

    floor.assert_settled_once(ids)
    assert not two.ended
