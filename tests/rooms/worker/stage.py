"""What the worker's tests share: a worker on the test's database, jobs for it, and waiting until something is true.

Nothing here sleeps for a result: ``until`` asks again and again, and its bound only limits how long a failure takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg

from perdure.app.registry import App
from perdure.app.worker import Worker
from perdure.core.op import Op
from perdure.jobs.model import JobSpec
from perdure.jobs.ops import control, enqueue
from perdure.jobs.view import Attempt, Job
from perdure.pg.drive import drive
from tests.conftest import Database

T = TypeVar("T")

BOUND_SECONDS = 60.0
"""How long anything may take before the test fails; a noisy machine never comes near it."""


class Stage:
    """One test's database, as its worker's callers and operators see it."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.conn: psycopg.Connection[Any] = db.connect()

    def ask(self, op: Op[T]) -> T:
        """Drive an op; each of its statements commits by itself."""
        return drive(self.conn, op)

    def value(self, query: str, *params: object) -> Any:
        """The first column of the first row."""
        row = self.conn.execute(query.encode(), params).fetchone()
        assert row is not None
        return row[0]

    def enqueue(self, *specs: JobSpec) -> list[int]:
        """Enqueue the jobs in one transaction; their ids."""
        with self.conn.transaction():
            return self.ask(enqueue.enqueue(specs))

    def job(self, id: int) -> Job:
        """The job, wherever it stands."""
        found = self.ask(control.get(id))
        assert found is not None, f"job {id} is gone"
        return found

    def attempts(self, id: int) -> list[Attempt]:
        """The job's attempt log."""
        return self.ask(control.attempts(id))

    def endings(self, id: int) -> list[str]:
        """How the job's attempts ended, in order."""
        return [attempt.ending for attempt in self.attempts(id)]

    def cancel(self, id: int, reason: str | None = None) -> str:
        """Cancel the job; what was answered."""
        with self.conn.transaction():
            return self.ask(control.cancel(id, reason))

    async def until_in(self, place: str, *ids: int) -> list[Job]:
        """Wait until the jobs stand there; what they look like then."""
        await until(lambda: all(self.job(id).place == place for id in ids), lambda: [self.job(id) for id in ids])
        return [self.job(id) for id in ids]

    async def until_all_in(self, place: str, ids: Sequence[int]) -> None:
        """The same for many jobs, by one count."""
        query = "select count(*) from perdure.jobs where place = %s and id = any(%s)"
        await until(lambda: self.value(query, place, list(ids)) == len(ids))

    def counts(self) -> dict[str, int]:
        """How many jobs stand in each place."""
        rows = self.conn.execute("select place, count(*) from perdure.jobs group by place").fetchall()
        return {str(place): int(count) for place, count in rows}


async def until(
    true: Callable[[], object], shown: Callable[[], object] = lambda: "", bound: float = BOUND_SECONDS
) -> None:
    """Return when it is true. ``shown`` says what there is instead, when it isn't by the bound (seconds)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + bound
    while not true():
        assert loop.time() < deadline, f"it didn't come true within {bound:g} s: {shown()}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def working(db: Database, app: App, **options: Any) -> AsyncIterator[Worker]:
    """A worker that has started; drained, and its own errors raised, at the end."""
    worker = Worker(app, db.url, **options)
    running = asyncio.create_task(worker.run())
    started = asyncio.create_task(worker.started.wait())
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED, timeout=BOUND_SECONDS)
    started.cancel()
    try:
        assert worker.started.is_set(), running.exception() if running.done() else "the worker didn't start"
        yield worker
    finally:
        if not running.done():
            worker.stop()
        await asyncio.wait_for(running, BOUND_SECONDS)
