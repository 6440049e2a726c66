"""What the worker's tests share: a worker on the test's database, jobs for it, and waiting until something is true.

Nothing here sleeps for a result: ``until`` asks again and again, and its bound only limits how long a failure takes.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

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
    """One test's database, as its worker's callers and operators see it.

    Everything is asked from a thread: the worker's loop runs on the test's own, and what it has locked it must be able
    to let go of.
    """

    def __init__(self, db: Database) -> None:
        self.db = db
        self.conn = db.connect(options="-c lock_timeout=20s")
        self.conn.execute("select perdure.make_days(3)")

    async def ask(self, op: Op[T]) -> T:
        """Drive an op in one transaction."""

        def driven() -> T:
            with self.conn.transaction():
                return drive(self.conn, op)

        return await asyncio.to_thread(driven)

    async def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """What the query returns."""
        return await asyncio.to_thread(lambda: self.conn.execute(query.encode(), params).fetchall())

    async def value(self, query: str, *params: object) -> Any:
        """The first column of the first row."""
        return (await self.rows(query, *params))[0][0]

    async def enqueue(self, *specs: JobSpec) -> list[int]:
        """Enqueue the jobs in one transaction; their ids."""
        return await self.ask(enqueue.enqueue(specs))

    async def job(self, id: int) -> Job:
        """The job, wherever it stands."""
        found = await self.ask(control.get(id))
        assert found is not None, f"job {id} is gone"
        return found

    async def attempts(self, id: int) -> list[Attempt]:
        """The job's attempt log."""
        return await self.ask(control.attempts(id))

    async def endings(self, id: int) -> list[str]:
        """How the job's attempts ended, in order."""
        return [attempt.ending for attempt in await self.attempts(id)]

    async def cancel(self, id: int, reason: str | None = None) -> str:
        """Cancel the job; what was answered."""
        return await self.ask(control.cancel(id, reason))

    async def until_in(self, place: str, *ids: int) -> list[Job]:
        """Wait until the jobs stand there; what they look like then."""
        jobs: list[Job] = []

        async def there() -> bool:
            jobs[:] = [await self.job(id) for id in ids]
            return all(job.place == place for job in jobs)

        await until(there, lambda: [(job.id, job.place, job.outcome, job.error) for job in jobs])
        return jobs

    async def until_all_in(self, place: str, ids: Sequence[int]) -> None:
        """The same for many jobs, by one count."""
        query = "select count(*) = %s from perdure.jobs where place = %s and id = any(%s)"
        await self.until_true(query, len(ids), place, list(ids))

    async def until_true(self, query: str, *params: object) -> None:
        """Wait until the query's one value is true."""
        await until(lambda: self.value(query, *params), lambda: query)

    async def counts(self) -> dict[str, int]:
        """How many jobs stand in each place."""
        found = await self.rows("select place, count(*) from perdure.jobs group by place")
        return {str(place): int(count) for place, count in found}


async def until(
    true: Callable[[], object], shown: Callable[[], object] = lambda: "", bound: float = BOUND_SECONDS
) -> None:
    """Return when it is true. ``shown`` says what there is instead, when it isn't by the bound (seconds)."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + bound
    while True:
        found = true()
        if await found if inspect.isawaitable(found) else found:
            return
        assert loop.time() < deadline, f"it didn't come true within {bound:g} s: {shown()}"
        await asyncio.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def working(db: Database, app: App, *, url: str | None = None, **options: Any) -> AsyncIterator[Worker]:
    """A worker that has started; drained, and its own errors raised, at the end. ``url``: another way to ``db``."""
    worker = Worker(app, url or db.url, **options)
    running = asyncio.create_task(worker.run())
    started = asyncio.create_task(worker.started.wait())
    await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED, timeout=BOUND_SECONDS)
    started.cancel()
    try:
        assert worker.started.is_set(), running.exception() if running.done() else "the worker didn't start"
        yield worker
    finally:
        if not running.done() and not worker._stop.is_set():  # to say it twice would be to say at once
            worker.stop()
        await asyncio.wait_for(running, BOUND_SECONDS)


async def claim_everything(worker: Worker, stage: Stage) -> None:
    """Hand the worker whatever is ready, as a pace that has just dropped leaves it: claimed and not started."""
    intake = worker._intakes[0]
    intake._rate, intake._measured = 1e9, float("inf")  # what it can run in a moment is more than there is
    worker._claimer.notified("")
    await stage.until_true("select not exists (select from perdure.ready)")
    intake._rate = 0.0
