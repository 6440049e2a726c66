"""The nouns in a transaction that somebody else begins and ends, and on what that may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import asyncpg
import asyncpg.pool
import psycopg

from ...pg.borrow import AsyncBorrowed, Borrowed, OnAsyncPsycopg, OnPsycopg, borrow
from .jobs import AsyncJobs, Jobs
from .machines import AsyncMachines, Machines
from .queues import AsyncQueues, Queues
from .runs import AsyncInTransaction, AsyncRuns, InTransaction, Runs
from .workers import AsyncWorkers, Workers
from .workflows import AsyncWorkflows, Workflows

if TYPE_CHECKING:
    import sqlalchemy.orm
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.utils.connection import ConnectionProxy
    from sqlalchemy.ext import asyncio as sqlalchemy_asyncio

    SyncConnections: TypeAlias = (
        psycopg.Connection[Any]
        | sqlalchemy.orm.Session
        | sqlalchemy.orm.scoped_session[Any]
        | sqlalchemy.Connection
        | BaseDatabaseWrapper
        | ConnectionProxy[Any]
    )
    AsyncConnections: TypeAlias = (
        psycopg.AsyncConnection[Any]
        | asyncpg.Connection[Any]
        | asyncpg.pool.PoolConnectionProxy[Any]
        | sqlalchemy_asyncio.AsyncSession
        | sqlalchemy_asyncio.async_scoped_session[Any]
        | sqlalchemy_asyncio.AsyncConnection
    )

Tx = TypeVar("Tx", bound="Transaction | AsyncTransaction")


class Bound:
    """The nouns, called."""

    def __init__(self, runs: Runs) -> None:
        self.jobs = Jobs(runs)
        self.queues = Queues(runs)
        self.machines = Machines(runs)
        self.workers = Workers(runs)
        self.workflows = Workflows(runs)


class AsyncBound:
    """The nouns, awaited."""

    def __init__(self, runs: AsyncRuns) -> None:
        self.jobs = AsyncJobs(runs)
        self.queues = AsyncQueues(runs)
        self.machines = AsyncMachines(runs)
        self.workers = AsyncWorkers(runs)
        self.workflows = AsyncWorkflows(runs)


class Transaction(Bound):
    """The nouns, and ``connection`` (psycopg) for the application's own statements: what commits, commits together."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._on = OnPsycopg(connection, schema)
        super().__init__(InTransaction(self._on))

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection. Raises Unsupported when the transaction has ended."""
        return self._on.connection


class AsyncTransaction(AsyncBound):
    """The nouns, and ``connection`` (psycopg) for the application's own statements: what commits, commits together."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], schema: str) -> None:
        self._on = OnAsyncPsycopg(connection, schema)
        super().__init__(AsyncInTransaction(self._on))

    @property
    def connection(self) -> psycopg.AsyncConnection[Any]:
        """The connection. Raises Unsupported when the transaction has ended."""
        return self._on.connection


@contextmanager
def lent(tx: Tx) -> Iterator[Tx]:
    """The block that a transaction is used in. Who still holds it then is refused: its connection goes on to somebody
    else. It ends before the transaction does, so what isn't refused is sent before the COMMIT."""
    try:
        yield tx
    finally:
        tx._on.end()


class Lender:
    """What both clients can do with a connection of yours."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    @overload
    def on(self, connection: SyncConnections) -> Bound: ...

    @overload
    def on(self, connection: AsyncConnections) -> AsyncBound: ...

    def on(self, connection: Any) -> Bound | AsyncBound:
        """The nouns in the transaction that is open on a connection or session of yours, which stays yours: nothing is
        committed, rolled back or closed. On an asynchronous one they are awaited.

        Takes a connection of psycopg 3 or asyncpg, a Session, AsyncSession, Connection or AsyncConnection of SQLAlchemy
        on psycopg or asyncpg, or a connection of Django. In autocommit mode each verb is a transaction of its own.
        Raises Unsupported for anything else.
        """
        borrowed: Borrowed | AsyncBorrowed = borrow(connection, self._schema)
        if isinstance(borrowed, Borrowed):
            return Bound(InTransaction(borrowed))
        return AsyncBound(AsyncInTransaction(borrowed))
