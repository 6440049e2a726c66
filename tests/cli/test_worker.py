"""``perdure worker`` as a process: how it stops, and how several of them are kept."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.floor import LAST_LONGER, LASTING
from tests.cli.terminal import Program, alive, answer, command_line, running, until
from tests.conftest import Database

pytestmark = pytest.mark.newest

TWO = ("worker", "shop:app", "--processes", "2")


def _children(program: Program, count: int) -> list[int]:
    """The pids of the processes the supervisor has started so far, once there are so many."""
    return [int(line.rpartition(" is ")[2]) for line in program.hear(r"worker process \S+ is \d+$", count)]


def _states(db: Database) -> list[Any]:
    return [state for (state,) in db.connect().execute("select state from perdure.worker order by id")]


def _jobs(db: Database) -> list[tuple[Any, ...]]:
    return db.connect().execute("select place, outcome, attempt, rescues from perdure.jobs order by id").fetchall()


def _begin(db: Database, home: Path, count: int) -> Path:
    """Enqueue jobs that wait for a file; the file."""
    gate = home / "gate"
    for _ in range(count):
        answer("enqueue", "wait_for", f"file={gate}", "--queue", "slow", url=db.url)
    return gate


def test_sigterm_finishes_what_runs_and_gives_back_the_rest(db: Database, home: Path) -> None:
    """On SIGTERM the running job is finished, what waits goes back without an attempt, no lease is left to expire, and
    the process ends with 0 [KIT-41, KIT-42]. Red without the drain's give-back.
    """
    gate = _begin(db, home, 3)
    with running("worker", "shop:app", "--queues", "slow:1", url=db.url, cwd=home) as worker:
        until("the first job to begin", (home / "gate.begun").exists)
        worker.process.terminate()
        worker.hear("draining")
        gate.touch()
        assert worker.ended() == 0

    assert _jobs(db) == [("history", "completed", 1, 0), ("ready", None, 0, 0), ("ready", None, 0, 0)]
    assert _states(db) == ["left"]
    assert db.connect().execute("select count(*) from perdure.lease").fetchone() == (0,)


def test_a_second_signal_means_now(db: Database, home: Path) -> None:
    """A second SIGTERM stops the running job, gives it back without an attempt, and ends the process with 1."""
    _begin(db, home, 1)
    with running("worker", "shop:app", url=db.url, cwd=home) as worker:
        until("the job to begin", (home / "gate.begun").exists)
        worker.process.terminate()
        worker.hear("draining")
        worker.process.terminate()
        assert worker.ended() == 1

    assert _jobs(db) == [("ready", None, 0, 0)]
    assert _states(db) == ["left"]


def test_the_drain_is_as_long_as_it_is_said(db: Database, home: Path) -> None:
    """With ``--drain-timeout 0`` one SIGTERM is enough, and a job that had to be stopped makes the exit code 1."""
    _begin(db, home, 1)
    with running("worker", "shop:app", "--drain-timeout", "0", url=db.url, cwd=home) as worker:
        until("the job to begin", (home / "gate.begun").exists)
        worker.process.terminate()
        assert worker.ended() == 1

    assert _jobs(db) == [("ready", None, 0, 0)]


def test_a_crashed_process_is_replaced_and_sigterm_is_passed_on(db: Database, home: Path) -> None:
    """Of two processes one that is killed is replaced, with a pause; SIGTERM drains both, and all end with 0 [KIT-36].
    Red without the supervisor's loop, or when it doesn't pass the signal on. The password of the URL, which a process
    listing would show, is on no command line.
    """
    url = db.url.replace("postgres@", "postgres:s3cret@", 1)
    with running(*TWO, "--name", "shop", url=url, cwd=home) as supervisor:
        first, second = _children(supervisor, 2)
        supervisor.hear("works on", 2)
        os.kill(first, signal.SIGKILL)
        supervisor.hear("was killed by SIGKILL; another one starts in 0.")
        *_, third = _children(supervisor, 3)
        supervisor.hear("works on", 3)
        assert not any("s3cret" in command_line(pid) for pid in (second, third))
        supervisor.process.terminate()
        assert supervisor.ended() == 0

    assert not alive(second)
    assert not alive(third)
    rows = db.connect().execute("select name, state from perdure.worker order by name, id").fetchall()
    assert {name for name, _ in rows} == {"shop:1", "shop:2"}
    assert [state for _, state in rows].count("left") == 2


def test_no_process_outlives_its_supervisor(db: Database, home: Path) -> None:
    """After kill -9 of the supervisor its processes drain and leave by themselves. Red without the tether's signal and
    its pipe.
    """
    db.connect().execute(LAST_LONGER)  # or one that is kept waiting for some seconds is taken for dead by the other
    with running(*TWO, "--name", LASTING, url=db.url, cwd=home) as supervisor:
        children = _children(supervisor, 2)
        supervisor.hear("works on", 2)
        supervisor.process.kill()
        until("the children to end", lambda: not any(map(alive, children)))

    assert _states(db) == ["left", "left"]


def test_settings_that_are_wrong_for_a_child_end_all(db: Database, home: Path) -> None:
    """A process that ends with 2 isn't started again and again: the supervisor stops the others, and ends with 2."""
    (home / "moody.py").write_text("import os\nfrom shop import app\nassert 'PERDURE_PARENT' not in os.environ\n")
    with running("worker", "moody:app", "--processes", "2", url=db.url, cwd=home) as supervisor:
        assert supervisor.ended() == 2
        assert not any(map(alive, _children(supervisor, 2)))
        supervisor.hear("importing moody raised AssertionError")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_a_worker_that_still_waits_for_its_server_can_be_stopped(number: signal.Signals, home: Path) -> None:
    """A signal ends a worker that has nothing yet, at once and with 0."""
    silent = "postgresql://shop@127.0.0.1:1/shop"
    with running("worker", "shop:app", "--url", silent, cwd=home) as worker:
        worker.hear("waiting for Postgres")
        worker.process.send_signal(number)
        assert worker.ended() == 0
