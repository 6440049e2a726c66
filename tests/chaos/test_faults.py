"""A process that ends, freezes or fails at each named fault point: the places where it and the database know different
things."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from _pytest.mark import ParameterSet

from perdure.runtime import faults
from tests.chaos.floor import BOUND_SECONDS, Floor, Process, until
from tests.chaos.shop import count_to, nothing, sell, sell_together, serve, serve_until_told
from tests.tidy.source import ROOT

SHORT = ("claim.after", "settle.before_flush", "settle.after_flush", "rescue.after", "promote.after",
         "drain.given_back", "handler.before_commit")  # fmt: skip
"""Points of the short form; the others are for the soak."""


COMMITTED = (("claim.after", "raise"), ("settle.after_flush", "raise"))


def _soaked(name: str, short: bool, *more: object) -> ParameterSet:
    return pytest.param(name, *more, marks=() if short else pytest.mark.soak)


def _points(*families: str) -> list[ParameterSet]:
    return [_soaked(name, name in SHORT) for name in faults.POINTS if name.partition(".")[0] in families]


def _settled(floor: Floor, ids: list[int], what: str) -> None:
    """A good worker finishes everything: each job once, and nobody charged."""
    died = floor.now()
    floor.relief("--queues", "default:50")
    floor.until_finished(ids)
    floor.recovered(what, floor.seconds("select max(finished_at) from perdure.history", since=died))
    floor.assert_settled_once(ids)
    assert floor.value("select max(attempt) from perdure.history") == 1


def _doomed(floor: Floor, fault: str, *, slots: int = 10) -> Process:
    return floor.worker("--queues", f"default:{slots}", started=False, PERDURE_FAULT=fault)


@pytest.mark.parametrize("place", _points("claim", "run", "settle"))
def test_killed_in_the_loop_nothing_is_lost(floor: Floor, place: str) -> None:
    """A worker that kills itself at each point of the loop loses nothing: its successor finishes every job, each
    settled once [DW-3, DW-30]. Red without rescue."""
    ids = floor.enqueue(*[sell.job() for _ in range(300)])
    doomed = _doomed(floor, f"{place}@3:kill")

    def killed() -> bool:
        """Whether it has come by there for the third time. One that settles many at a time needs more jobs for that."""
        if not floor.value("select exists (select from perdure.job)"):
            ids.extend(floor.enqueue(*[sell.job() for _ in range(50)]))
        return doomed.ended

    until(killed, floor.logs)
    assert doomed.wait() == -signal.SIGKILL
    _settled(floor, ids, f"kill -9 at {place}")
    assert set(floor.effects("sold")) == set(ids)


@pytest.mark.parametrize("place", _points("handler"))
def test_killed_around_a_handlers_own_commit_its_effect_is_there_once(floor: Floor, place: str) -> None:
    """A worker that dies just before or just after a handler's own transaction commits: the effect and the end of the
    job are there together, each once [DW-49]. Red when the two are committed one after the other."""
    ids = floor.enqueue(*[sell_together.job() for _ in range(40)])

    assert _doomed(floor, f"{place}@3:kill").wait() == -signal.SIGKILL
    _settled(floor, ids, f"kill -9 at {place}")
    assert floor.effects("sold") == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("place", _points("bury", "rescue"))
def test_killed_while_it_rescues_nothing_is_lost(floor: Floor, place: str) -> None:
    """A worker that dies while it rescues another's jobs leaves them to the next one, which rescues them once. Red when
    a rescue isn't one transaction for each lease, or leans on who began it."""
    ids = floor.enqueue(*[serve_until_told.job() for _ in range(6)])
    victim = floor.worker("--queues", "default:6")
    floor.until_true("select count(*) = 6 from effect where what = 'begun'")
    doomed = _doomed(floor, f"{place}:kill", slots=1)
    until(lambda: floor.row(doomed) is not None, doomed.said)
    victim.kill()

    assert doomed.wait() == -signal.SIGKILL
    floor.conn.execute("insert into told values (true)")
    _settled(floor, ids, f"kill -9 at {place}")


@pytest.mark.newest
@pytest.mark.parametrize("place", _points("promote"))
def test_killed_while_it_promotes_nothing_is_lost(floor: Floor, place: str) -> None:
    """A worker that dies before or after it has moved due jobs leaves each of them in one place: they run once."""
    ids = floor.enqueue(*[sell.job().options(delay=0.3) for _ in range(50)])

    assert _doomed(floor, f"{place}:kill").wait() == -signal.SIGKILL
    _settled(floor, ids, f"kill -9 at {place}")


@pytest.mark.soak
def test_killed_while_it_finds_out_what_it_holds_nothing_is_lost(floor: Floor) -> None:
    """A worker that dies between its new incarnation and the reading of its leases leaves them to rescue."""
    ids = floor.enqueue(*[serve.job(0.05) for _ in range(200)])
    doomed = _doomed(floor, "recover.before_leases:kill", slots=5)
    floor.until_true("select count(*) > 5 from effect where what = 'begun'")
    floor.value("select count(pg_terminate_backend(pid)) from pg_stat_activity "
                "where application_name ~ '^perdure-claim' and datname = current_database()")  # fmt: skip

    assert doomed.wait() == -signal.SIGKILL
    _settled(floor, ids, "kill -9 at recover.before_leases")


@pytest.mark.newest
@pytest.mark.parametrize("place", _points("drain"))
def test_killed_while_it_drains_nothing_is_lost(floor: Floor, place: str) -> None:
    """A worker that is killed in the middle of its drain leaves what it still had to rescue, uncharged."""
    ids = floor.enqueue(*[serve.job(0.1) for _ in range(40)])
    doomed = _doomed(floor, f"{place}:kill", slots=5)
    floor.until_true("select count(*) > 5 from effect where what = 'begun'")
    doomed.signal(signal.SIGTERM)

    assert doomed.wait() == -signal.SIGKILL
    _settled(floor, ids, f"kill -9 at {place}")


@pytest.mark.soak
def test_a_killed_parent_leaves_its_call_to_another(floor: Floor) -> None:
    """A worker that dies as it hands a job to its child: the job runs elsewhere, uncharged."""
    ids = floor.enqueue(*[count_to.job(1_000) for _ in range(4)])

    assert _doomed(floor, "child.before@2:kill").wait() == -signal.SIGKILL
    _settled(floor, ids, "kill -9 at child.before")


@pytest.mark.newest
def test_a_child_that_is_killed_as_it_is_called_costs_its_job_one_attempt(floor: Floor) -> None:
    """A child that dies before its handler's first line charges that job, and its worker lives on. Red when it takes
    the worker or its mates along."""
    ids = floor.enqueue(count_to.job(1_000))
    others = floor.enqueue(*[sell.job() for _ in range(20)])
    worker = _doomed(floor, "child.called:kill")
    floor.until_finished(others)
    floor.until_true("select exists (select from perdure.attempt where job = %s)", ids[0])

    assert not worker.ended
    worker.kill()
    floor.relief()
    floor.until_finished(ids)


@pytest.mark.newest
@pytest.mark.parametrize(("place", "written"), [("gather.before", 0), ("gather.after", 1)])
def test_a_caller_that_is_killed_has_written_all_or_nothing(floor: Floor, place: str, written: int) -> None:
    """An enqueueing process that dies before its gathered statement has written nothing of it, and after it all: what
    was acknowledged is there in any case, and runs once [DW-3]."""
    caller = ("import sys; from perdure import Client; from tests.chaos.shop import sell\n"
              "client = Client(sys.argv[1])\n"
              "for _ in range(5): print(client.jobs.enqueue(sell.job()).id, flush=True)")  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", caller, floor.db.url], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PERDURE_FAULT": f"{place}@3:kill"}, timeout=BOUND_SECONDS,
    )  # fmt: skip
    told = [int(line) for line in ended.stdout.split()]
    ids = [id for (id,) in floor.rows("select id from perdure.job order by id")]

    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(told) == 2
    assert ids[:2] == told
    assert len(ids) == 2 + written
    _settled(floor, ids, f"kill -9 of an enqueuer at {place}")


@pytest.mark.parametrize(
    ("place", "act"),
    [
        _soaked(place, (place, act) in (("claim.after", "lose"), ("settle.after_flush", "lose")), act)
        for place in faults.FAILING
        for act in ("raise", "lose")
        # What was committed hasn't been refused: after it an answer can only be lost.
        if not place.startswith(("rescue", "bury")) and (place, act) not in COMMITTED
    ],
)
def test_an_error_at_a_fault_point_is_answered(floor: Floor, place: str, act: str) -> None:
    """A refused statement and a lost answer at each point of claim, settlement and promotion: the worker goes on by
    itself, nothing is lost, nothing charged, nothing rescued, and no end is taken for stale [DW-30]. Red when an
    unknown outcome is taken for a failure, or a failure for an end."""
    ids = floor.enqueue(*[sell.job() for _ in range(100)], *[sell.job().options(delay=0.3) for _ in range(10)])
    worker = floor.worker("--queues", "default:10", lasting=True, PERDURE_FAULT=f"{place}@1:{act}")
    floor.until_finished(ids)
    floor.until_true("select count(*) = 0 from perdure.lease")

    floor.assert_settled_once(ids)
    assert floor.rows("select distinct attempt, rescues from perdure.history") == [(1, 0)]
    assert floor.effects("sold") == dict.fromkeys(ids, 1)
    assert "stale: job" not in worker.said()
    assert not worker.ended


@pytest.mark.newest
def test_a_pause_at_a_fault_point_is_a_late_settlement_and_no_more(floor: Floor) -> None:
    """A worker whose loop is held up before it settles, for longer than it may be silent, keeps its leases: its heart
    beats on. Red when the loop has to beat."""
    ids = floor.enqueue(*[nothing.job() for _ in range(10)])
    held = floor.worker("--queues", "default:10", lasting=True, PERDURE_FAULT="settle.before_flush:pause=8")
    floor.until_true("select exists (select from perdure.lease)")
    floor.relief("--queues", "default:1")
    beats = set()

    def settled() -> bool:
        beat = floor.value("select expires_at from perdure.worker where pid = %s", held.pid)
        if floor.value("select exists (select from perdure.history)"):
            return True
        beats.add(beat)
        return False

    until(settled, floor.logs)
    floor.until_finished(ids)

    floor.assert_settled_once(ids)
    assert floor.rows("select distinct attempt, rescues from perdure.history") == [(1, 0)]
    assert len(beats) >= 3
