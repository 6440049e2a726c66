"""Where a benchmark plays: a schema of its own, and a connection to look at it with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import psycopg

from ..core.errors import InvalidOption, StatementRefused
from ..core.op import Op
from ..jobs.model import JobSpec
from ..jobs.ops import queues
from ..jobs.ops.enqueue import enqueue
from ..pg.connect import connect, for_pg, for_psycopg
from ..pg.drive import drive
from ..pg.migrate import migrate
from ..pg.url import resolve, shown
from . import ops

R = TypeVar("R")

PREFIX = "perdure_bench_"
ENQUEUE_ROWS = 5_000
START_ROWS = 1_000
COUNT_SECONDS = 30.0
"""How long what has been settled may take to be counted: no time that is measured."""

QUEUE = "default"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure. ``jobs``: what it counts is said by each benchmark. ``rounds``: the median is of these."""

    jobs: int
    rounds: int = 5
    processes: int = 2

    def __post_init__(self) -> None:
        for name in ("jobs", "rounds", "processes"):
            if getattr(self, name) < 1:
                raise InvalidOption(f"{getattr(self, name)} is less than one", field=name, fix="give 1 or more")


@dataclass(frozen=True, slots=True)
class Stage:
    """The schema and the connection (autocommit). ``say`` is told what is going on, ``problems`` gather what doesn't
    add up."""

    url: str
    schema: str
    conn: psycopg.Connection[Any]
    say: Callable[[str], None]
    problems: list[str] = field(default_factory=list)

    def run(self, op: Op[R]) -> R:
        """Drive an op on the stage's own connection."""
        return drive(self.conn, op, self.schema)

    def enqueue(self, specs: Sequence[JobSpec]) -> list[int]:
        """Enqueue in thousands; the ids."""
        ids: list[int] = []
        for start in range(0, len(specs), ENQUEUE_ROWS):
            ids += self.run(enqueue(specs[start : start + ENQUEUE_ROWS]))
        return ids

    def pause(self) -> None:
        """Let nothing be claimed."""
        self.run(queues.ensure([QUEUE]))
        self.run(queues.pause(QUEUE))

    def resume(self) -> None:
        """Let claims go on."""
        self.run(queues.resume(QUEUE))

    def clear(self) -> None:
        """Begin anew, with empty tables."""
        self.run(ops.clear())

    def settle_down(self) -> None:
        """Vacuum and checkpoint, so that what follows isn't slowed by what was written before it."""
        with suppress(StatementRefused):  # a role that may not ask for a checkpoint measures with one more unknown
            self.run(ops.settle_down())

    async def finished(self, jobs: int) -> bool:
        """Whether every job has completed exactly once and nothing else is left; a lease may close a moment later."""
        for _ in range(int(COUNT_SECONDS / 0.1)):
            found = self.run(ops.count())
            if (found.history, found.jobs, found.job, found.ready, found.lease) == (jobs, jobs, 0, 0, 0):
                return True
            if not (found.job or found.ready or found.lease):
                break  # nothing is left that could still end
            await asyncio.sleep(0.1)
        self.problems.append(f"expected {jobs} jobs in history and nothing else, found {found}")
        return False

    def queued(self, jobs: int) -> bool:
        """Whether that many jobs are ready, each with its body, and nothing else is there."""
        found = self.run(ops.count())
        if (found.job, found.ready, found.lease, found.history) == (jobs, jobs, 0, 0):
            return True
        self.problems.append(f"expected {jobs} ready jobs and nothing else, found {found}")
        return False

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """Another connection, in autocommit mode and without bounds on how long it may sit in a transaction, or wait
        for one."""
        settings = for_psycopg(self.url, "migration")
        settings["options"] += " -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c transaction_timeout=0"
        if self.conn.info.server_version < 170_000:
            settings["options"] = settings["options"].replace(" -c transaction_timeout=0", "")
        with psycopg.connect(**settings, autocommit=True) as conn:
            yield conn

    @asynccontextmanager
    async def plain(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """An asyncpg connection, which the floor is measured on."""
        conn = await asyncpg.connect(**for_pg(self.url, "migration"))
        try:
            yield conn
        finally:
            await conn.close()


@contextmanager
def staged(url: str | None, say: Callable[[str], None], name: str = "") -> Iterator[Stage]:
    """A stage in the database of the URL (else $DATABASE_URL, else the embedded Postgres), removed at the end.
    ``name``: of another one beside that of this process.

    Raises what ``resolve`` and ``connect`` raise.
    """
    found = resolve(url, say=say)
    schema = f"{PREFIX}{os.getpid()}{name}"
    with connect(found, "migration") as conn:
        say(f"measuring in the schema {schema} of {shown(found)}")
        stage = Stage(found, schema, conn, say)
        try:
            migrate(conn, schema=schema)
            stage.run(ops.create_floor())
            stage.run(queues.ensure([QUEUE]))
            yield stage
        finally:
            # The connection may have been broken by what ended the benchmark; the schema goes all the same.
            with connect(found, "migration") as last:
                assert schema.startswith(PREFIX)
                drive(last, ops.drop_schema(), schema)
