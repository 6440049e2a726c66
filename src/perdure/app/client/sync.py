"""``Client``: the nouns, called."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from ...core import limits
from ...core.errors import ConnectionLost, OutcomeUnknown, RolledBack, ServerUnavailable, TransientError
from ...core.op import Op
from ...jobs.model import JobSpec
from ...jobs.ops.enqueue import enqueue
from ...pg.connect import Purpose
from ...pg.drive import drive
from ...pg.migrate import checked_schema
from ...pg.outcome import Witness, committed, witness
from ...pg.pooler import PooledConnection
from ...pg.url import checked
from ...runtime.clock import monotonic
from ...runtime.dice import jittered, roll
from . import forks, opening
from .bound import Bound, Lender, Transaction, lent
from .ending import OUTCOME_PAUSE_SECONDS, Isolation, finished, refuse_failed, runnable, transacting, unknown
from .gather import Gathering
from .pools import Pool
from .replay import Contention, Replay

P = ParamSpec("P")
R = TypeVar("R")


class Client(Bound, Lender):
    """Perdure, called from threads.

    ``url``: of the database; None for $DATABASE_URL, else the embedded Postgres, which is started and migrated. The
    database is looked for when it is first needed, and a server that was named must have been migrated. ``schema``:
    where Perdure lives in it. Close the client, or use it in a ``with``. It may be shared by any number of threads.
    Raises InvalidUrl or InvalidOption at once; the first use raises the other ConfigError classes.
    """

    def __init__(self, url: str | None = None, *, schema: str = "perdure") -> None:
        Lender.__init__(self, checked_schema(schema))
        self._pooled = Pooled(None if url is None else checked(url), schema)
        self._contention = Contention()
        Bound.__init__(self, self._pooled)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction of one of the client's connections: it commits when the block ends, and an exception rolls it
        back, jobs and all. After the block it can't be used any more: that raises Unsupported."""
        with self._pooled.transaction() as conn, lent(Transaction(conn, self._schema)) as tx:
            yield tx

    def run(
        self,
        function: Callable[[Transaction], R],
        *,
        attempts: int = limits.REPLAYS_DEFAULT,
        isolation: Isolation | None = None,
    ) -> R:
        """Call ``function`` in a transaction, and commit; what it returns. A deadlock, a serialization failure or a
        lock not granted in time replays all of it, after a pause, ``attempts`` times in all. What it does elsewhere
        than in the transaction, it may do again.

        When the commit gets no answer, the server is asked what became of it. ``isolation``: "read committed",
        "repeatable read" or "serializable"; None for the database's own. Raises TransactionConflict or LockTimeout
        after the last attempt, OutcomeUnknown when the server couldn't say, and whatever else ``function`` raises.
        """
        runnable(function)
        replay = Replay(attempts, self._contention)
        while True:
            try:
                return self._attempt(function, isolation)
            except Exception as error:
                pause = replay.pause(error, roll())
            time.sleep(pause)

    @property
    def contention(self) -> Mapping[str, int]:
        """How often a ``run`` of this client met another transaction: deadlocks, serialization_failures,
        lock_timeouts."""
        return dict(self._contention.counts)

    def close(self) -> None:
        """Close the client's connections; what uses them now ends first. Safe to call twice."""
        self._pooled.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self, function: Callable[[Transaction], R], isolation: Isolation | None) -> R:
        known: Witness | None = None
        try:
            with self._pooled.transaction(isolation) as conn:
                with lent(Transaction(conn, self._schema)) as tx:
                    result = finished(function(tx))
                refuse_failed(conn)
                try:
                    known = drive(conn, witness(), self._schema)
                except ConnectionLost as error:
                    raise RolledBack("the connection broke before the commit") from error
        except OutcomeUnknown as error:
            if known is None:
                raise  # of something else that the function has done
            if known.xid is not None and not self._committed(known, error):
                raise RolledBack("the connection broke, and the server has rolled it back") from error
        return result

    def _committed(self, known: Witness, error: OutcomeUnknown) -> bool:
        """Ask until it is known. Raises OutcomeUnknown."""
        deadline = monotonic() + limits.OUTCOME_SECONDS
        while True:
            with suppress(TransientError):
                if (found := self._pooled.ask(committed(known))) is not None:
                    return found
            if monotonic() > deadline:
                raise error
            time.sleep(jittered(OUTCOME_PAUSE_SECONDS))


class Pooled:
    """Ops on connections of its own, which are opened for ``purpose``: each in a transaction of its own."""

    waits = True

    def __init__(
        self,
        url: str | None,
        schema: str,
        purpose: Purpose = "app",
        connections: int = opening.CONNECTIONS_MAX,
    ) -> None:
        self._url, self._schema, self._purpose, self._connections = url, schema, purpose, connections
        self._closed = False
        self._begin()
        forks.watch(self)

    def _begin(self) -> None:
        self._opening = threading.Lock()
        self._pool: Pool | None = None
        self._kept: psycopg.Connection[Any] | None = None
        self.enqueue = Gathering(self._write).enqueue

    def ask(self, op: Op[R]) -> R:
        """Drive the op; each of its statements commits by itself."""
        with self.connection() as conn:
            try:
                return drive(conn, op, self._schema)
            except ConnectionLost as error:
                raise unknown(error) from error

    def look(self, ask: Callable[P, Op[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Drive an op that only reads; again on another connection when one breaks under it. Raises ConnectionLost when
        the second one breaks, too: nothing was to be committed, so nothing of it is unknown."""
        try:
            with self.connection() as conn:
                return drive(conn, ask(*args, **kwargs), self._schema)
        except ConnectionLost:
            with self.connection() as conn:
                return drive(conn, ask(*args, **kwargs), self._schema)

    def change(self, op: Op[R]) -> R:
        """Drive the op in one transaction."""
        with self.transaction() as conn:
            return drive(conn, op, self._schema)

    @contextmanager
    def transaction(self, isolation: Isolation | None = None) -> Iterator[psycopg.Connection[Any]]:
        """A connection in a transaction, which commits when the block ends."""
        with self.connection() as conn, transacting(conn, isolation):
            yield conn

    def refuse_wait(self) -> None:
        """Waiting is fine here."""

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in autocommit mode."""
        pool, conn = self._taken()
        try:
            yield conn
        finally:
            pool.putconn(conn)

    def close(self) -> None:
        """Close the connections; what uses them now ends first."""
        with self._opening:
            self._closed = True
        self._let_go()
        if self._pool is not None:
            self._pool.close()

    def leave(self) -> object:
        """Begin anew, in a process that was forked; what was in use in its parent is returned, and not to be used."""
        left = self._pool, self._kept
        self._begin()
        return left

    def _write(self, specs: Sequence[JobSpec]) -> list[int]:
        """Only one thread at a time sends for the others, so it keeps its connection for the next one: to take one
        from the pool and give it back costs 40 µs, a tenth of a lone enqueue."""
        conn, self._kept = self._kept, None
        if conn is not None and opening.may_be_broken(conn.fileno()):
            self._kept = conn
            self._let_go()
            conn = None
        if conn is None:
            _, conn = self._taken()
        try:
            return drive(conn, enqueue(specs), self._schema)
        except ConnectionLost as error:
            raise unknown(error) from error
        finally:
            self._kept = conn
            if self._closed or conn.info.transaction_status is not TransactionStatus.IDLE:
                self._let_go()

    def _let_go(self) -> None:
        """Give the sender's connection back to the pool, which closes a broken one."""
        conn, self._kept = self._kept, None
        if conn is not None and self._pool is not None:
            self._pool.putconn(conn)

    def _taken(self) -> tuple[Pool, psycopg.Connection[Any]]:
        """The pool, and a connection of it."""
        try:
            pool = self._pool or self._opened()
            return pool, pool.take()
        except PoolClosed:
            raise opening.closed() from None
        except (PoolTimeout, TooManyRequests, ServerUnavailable) as error:
            raise opening.unavailable(error, self._connections, self._purpose) from error

    def _opened(self) -> Pool:
        with self._opening:
            if self._closed:
                raise opening.closed()
            if self._pool is None:
                url, pooled = opening.find(self._url, self._schema)
                settings = opening.pool_settings(url, self._purpose, pooled, self._connections)
                if pooled:
                    settings |= {"connection_class": PooledConnection, "configure": opening.bind(self._purpose)}
                pool = Pool(**settings)
                Context().run(pool.open)  # its threads outlive the job that asks first, and aren't about it
                self._pool = pool
            return self._pool
