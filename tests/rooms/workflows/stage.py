"""What the tests of workflows share: an app, a client, a worker on the test's loop, and a list of what steps did.

The client blocks, so it is asked from threads; nothing sleeps for a result.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from perdure import App, Client
from perdure.app.worker import Worker
from perdure.core.run_errors import WorkflowNotFound
from perdure.workflows.model import Moment, Run, RunSpec
from tests.conftest import Database
from tests.rooms.worker.stage import BOUND_SECONDS, until, working

T = TypeVar("T")


class Stage:
    """One test's database. ``did``: what steps did, in order; they call ``do``."""

    def __init__(self, db: Database, client: Client) -> None:
        self.db, self.client = db, client
        self.app = App("shop")
        self.did: list[Any] = []
        self.conn = db.connect()
        self.conn.execute("select perdure.make_days(3)")

    async def do(self, what: Any) -> Any:
        """A step that leaves a trace, and returns it."""
        self.did.append(what)
        return what

    def do_sync(self, what: Any) -> Any:
        """The same in a thread."""
        self.did.append(what)
        return what

    def fail(self, what: Any) -> Any:
        """A step that leaves a trace and fails."""
        self.did.append(what)
        raise ValueError(f"{what} failed")

    @asynccontextmanager
    async def working(self, app: App | None = None, **options: Any) -> AsyncIterator[Worker]:
        """A worker of the app."""
        async with working(self.db, app or self.app, **options) as worker:
            yield worker

    async def ask(self, verb: Callable[..., T], *args: Any, **options: Any) -> T:
        """Call a verb of the client in a thread."""
        return await asyncio.to_thread(partial(verb, *args, **options))

    async def start(self, spec: RunSpec, id: str = "r", **options: Any) -> Any:
        """Start a run."""
        return await self.ask(self.client.workflows.start, spec, id=id, **options)

    async def run(self, spec: RunSpec, id: str = "r", **options: Any) -> Any:
        """Start a run, and wait for its result."""
        await self.start(spec, id, **options)
        return await self.result(id)

    async def result(self, id: str = "r") -> Any:
        """What the run returns; raises how it failed."""
        return await self.ask(self.client.workflows.wait, id, timeout=BOUND_SECONDS)

    async def get(self, id: str = "r") -> Run:
        """The run."""
        return await self.ask(self.client.workflows.get, id)

    async def signal(self, name: str, payload: Any = None, id: str = "r", **options: Any) -> bool:
        """Send a signal."""
        return await self.ask(self.client.workflows.signal, id, name, payload, **options)

    async def timeline(self, id: str = "r") -> dict[str, Moment]:
        """What the run has recorded, by name."""
        return {each.name: each for each in await self.ask(self.client.workflows.timeline, id)}

    async def until_state(self, state: str, id: str = "r") -> Run:
        """Wait until the run is in that state."""
        found: list[Run] = []

        async def there() -> bool:
            with contextlib.suppress(WorkflowNotFound):
                found[:] = [await self.get(id)]
            return bool(found) and found[0].state == state

        await until(there, lambda: found)
        return found[0]

    async def until_true(self, query: str, *params: object) -> None:
        """Wait until the query's one value is true."""
        await until(lambda: self.value(query, *params), lambda: query)

    def value(self, query: str, *params: object) -> Any:
        """The first column of the first row."""
        row = self.conn.execute(query.encode(), params).fetchone()
        assert row is not None
        return row[0]

    def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """All rows."""
        return self.conn.execute(query.encode(), params).fetchall()
