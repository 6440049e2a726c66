"""The shop's floor: worker processes on a database, what is done to them, and the ledger that must add up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeAlias

import psycopg

from perdure.core.op import Op
from perdure.jobs.model import JobSpec
from perdure.jobs.ops.enqueue import enqueue
from perdure.pg.drive import drive
from tests import forge
from tests.conftest import Database
from tests.tidy.source import ROOT

BOUND_SECONDS = 60.0
"""How long anything may take before a test fails. Not a figure of the product: those are printed."""

Record: TypeAlias = Callable[[str, object], None]
"""Keeps a figure of this run, under what it says."""

LASTING = "lasting"
"""How the names of workers begin that nobody may take for dead while they live."""

LAST_LONGER = f"""
create function last_longer() returns trigger language plpgsql as '
begin
    new.expires_at = new.expires_at + interval ''30 s'';
    return new;
end';
create trigger last_longer before insert or update of expires_at on perdure.worker
    for each row when (starts_with(new.name, '{LASTING}') and new.expires_at > clock_timestamp())
    execute function last_longer()
"""

TABLES = """
create table effect (job bigint not null, generation int not null, pid int not null, what text not null,
                     at timestamptz not null default clock_timestamp());
create table told (yes boolean)
"""


def until(true: Callable[[], object], shown: Callable[[], object] = lambda: "", bound: float = BOUND_SECONDS) -> None:
    """Return when it is true; ``shown`` says what there is instead when it isn't by the bound (seconds)."""
    deadline = time.monotonic() + bound
    while not true():
        assert time.monotonic() < deadline, f"it didn't come true within {bound:g} s: {shown()}"
        time.sleep(0.02)


APP = "tests.chaos.shop:app"


class Process:
    """One ``perdure worker`` process; its log is in a file, and shown when a test fails."""

    def __init__(self, url: str, log: IO[str], *arguments: str, app: str = APP, **environment: str) -> None:
        self.log = Path(log.name)
        self._process = forge.start(
            ["worker", app, "--url", url, *arguments],
            cwd=ROOT,
            env={**os.environ, "EFFECTS_URL": url, **environment},
            stdout=log.fileno(),
            stderr=log.fileno(),
        )
        self.pid = self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    @property
    def frozen(self) -> bool:
        """Whether it is stopped."""
        return "\nState:\tT" in Path(f"/proc/{self.pid}/status").read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send the signal, if it still runs."""
        if not self.ended:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._process.wait(BOUND_SECONDS)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self._process.wait(BOUND_SECONDS)

    def wait(self) -> int:
        """Wait until it ends; the exit code."""
        return self._process.wait(BOUND_SECONDS)

    def said(self) -> str:
        """Everything it has logged."""
        return self.log.read_text()


class Floor:
    """The database with the shop's tables, and the processes of one test."""

    def __init__(
        self, db: Database, folder: Path, record: Record = lambda what, seconds: None, *, fresh: bool = True
    ) -> None:
        self.db, self.folder, self._record = db, folder, record
        self._closing = ExitStack()
        self.conn: psycopg.Connection[Any] = db.connect()
        if fresh:
            self.conn.execute(TABLES)
            self.conn.execute(LAST_LONGER)
            self.conn.execute("select perdure.make_days(3)")
        self.processes: list[Process] = []

    def reconnect(self) -> None:
        """After the server was away."""
        self.conn = self.db.connect()

    def worker(
        self, *arguments: str, url: str | None = None, started: bool = True, lasting: bool = False, **environment: str
    ) -> Process:
        """Start a worker process; by default wait until its row is there. ``lasting``: for one that isn't to be lost:
        nobody takes it for dead because the machine has kept it waiting for some seconds."""
        name = f"{LASTING if lasting else 'w'}{len(self.processes)}"
        log = self._closing.enter_context((self.folder / f"{name}.log").open("w"))
        if "--name" not in arguments:
            arguments += ("--name", name)
        process = Process(url or self.db.url, log, *arguments, **environment)
        self._closing.callback(process.kill)
        self.processes.append(process)
        if started:
            until(lambda: self.row(process) is not None or process.ended, process.said)
            assert not process.ended, process.said()
        return process

    def relief(self, *arguments: str) -> Process:
        """Start a worker that isn't to be lost."""
        return self.worker(*arguments, lasting=True)

    def bury(self, process: Process) -> None:
        """Nobody waits for a process that has ended: what it had sent has been carried out, and its time is over."""
        assert process.ended
        self.until_true(
            "select not exists (select from pg_stat_activity s join perdure.worker w on w.pid = %s "
            "where s.datname = current_database() "
            "and (s.application_name = 'till ' || w.pid or s.application_name ~ ('^perdure-.* ' || w.name || '$')))",
            process.pid,
        )
        self.conn.execute("update perdure.worker set expires_at = clock_timestamp() where pid = %s", [process.pid])

    def row(self, process: Process) -> int | None:
        """The worker's row, by its pid; the latest if there were several."""
        found = self.value("select max(id) from perdure.worker where pid = %s", process.pid)
        return None if found is None else int(found)

    def enqueue(self, *specs: JobSpec) -> list[int]:
        """Enqueue the jobs in one transaction."""
        with self.conn.transaction():
            return drive(self.conn, self.enqueueing(*specs))

    def enqueueing(self, *specs: JobSpec) -> Op[list[int]]:
        """The op of an enqueue, for a connection of the test's own."""
        return enqueue(specs)

    def value(self, query: str, *params: object) -> Any:
        """The first column of the first row."""
        row = self.conn.execute(query.encode(), params).fetchone()
        assert row is not None
        return row[0]

    def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """All rows."""
        return self.conn.execute(query.encode(), params).fetchall()

    def until_true(self, query: str, *params: object) -> None:
        """Wait until the query's one value is true."""
        until(lambda: self.value(query, *params), lambda: f"{query} {params}\n{self.logs()}")

    def until_finished(self, ids: Sequence[int]) -> None:
        """Wait until all of these are in history, as long as some get there: suspects run alone, which takes time."""
        query, found = "select count(*) from perdure.history where id = any(%s)", -1
        while found < len(ids):
            before = found
            until(
                lambda: self.value(query, list(ids)) > before,  # noqa: B023
                lambda: f"{before} of {len(ids)}, {self.places()}\n{self.logs()}",  # noqa: B023
            )
            found = self.value(query, list(ids))

    def places(self) -> dict[str, int]:
        """How many jobs stand in each place."""
        return dict(self.rows("select place, count(*) from perdure.jobs group by place"))

    def effects(self, what: str) -> dict[int, int]:
        """How often each job has left this effect."""
        return dict(self.rows("select job, count(*) from effect where what = %s group by job", what))

    def first(self, what: str, after: datetime) -> float:
        """Seconds from the moment to the first such effect after it."""
        query = "select extract(epoch from min(at) - %s)::float8 from effect where what = %s and at > %s"
        return float(self.value(query, after, what, after))

    def now(self) -> datetime:
        """The database's clock."""
        found = self.value("select clock_timestamp()")
        assert isinstance(found, datetime)
        return found

    def seconds(self, query: str, *params: object, since: datetime) -> float:
        """Seconds from that moment to the moment that the query returns, by the database's clock."""
        return float((self.value(query, *params) - since).total_seconds())

    def recovered(self, what: str, seconds: float) -> None:
        """Keep how long it took until all was well again: it is printed when the tests have run."""
        self._record(f"recovery: {what}", round(seconds, 2))

    def logs(self) -> str:
        """What the processes have said."""
        return "\n".join(f"--- {process.log.name}\n{process.said()}" for process in self.processes)

    def assert_settled_once(self, ids: Sequence[int]) -> None:
        """The ledger: each job is in history exactly once, completed, and nothing else is left of any of them."""
        ended = self.rows("select id, count(*), min(outcome) from perdure.history group by id")
        assert {id: (count, outcome) for id, count, outcome in ended} == dict.fromkeys(ids, (1, "completed")), (
            self.logs()
        )
        for table in ("job", "ready", "scheduled", "held", "dead"):
            assert self.value(f"select count(*) from perdure.{table}") == 0, (table, self.logs())

    def close(self) -> None:
        """Kill what still runs."""
        self._closing.close()
