"""Pools of connections that are done with an outage as soon as the server is.

psycopg's own ``check`` waits after each connection that it finds broken, twice as long as before, as if the server were
to blame: after a restart, which breaks all of them, a caller would wait for seconds with the server up. Here a broken
one goes back, which replaces it, and the next one is taken at once.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from psycopg_pool import pool as threads
from psycopg_pool import pool_async as loops

from ...runtime.clock import monotonic
from . import opening

RECONNECT_SECONDS_MAX: Final = 1.0
"""Between two attempts to connect, however long the server has been away. psycopg doubles it up to minutes, and callers
would be told that the server doesn't answer when it does."""


class Pool(ConnectionPool[psycopg.Connection[Any]]):
    """Connections for threads."""

    def take(self) -> psycopg.Connection[Any]:
        """A connection that answers, for ``putconn`` later. Raises what ``getconn`` raises."""
        deadline = monotonic() + opening.CONNECTION_SECONDS_MAX
        while True:
            conn, answers = self.getconn(deadline - monotonic()), False
            try:
                answers = _answers(conn)
            finally:
                if not answers:
                    conn.close()
                    self.putconn(conn)
            if answers:
                return conn

    def schedule_task(self, task: threads.MaintenanceTask, delay: float) -> None:
        """Connect again in a moment."""
        hasty = isinstance(task, threads.AddConnection)
        super().schedule_task(task, min(delay, RECONNECT_SECONDS_MAX) if hasty else delay)


class AsyncPool(AsyncConnectionPool[psycopg.AsyncConnection[Any]]):
    """Connections for one event loop."""

    async def take(self) -> psycopg.AsyncConnection[Any]:
        """As ``Pool.take``."""
        deadline = monotonic() + opening.CONNECTION_SECONDS_MAX
        while True:
            conn, answers = await self.getconn(deadline - monotonic()), False
            try:
                answers = await _aanswers(conn)
            finally:
                if not answers:
                    await conn.close()
                    await self.putconn(conn)
            if answers:
                return conn

    async def schedule_task(self, task: loops.MaintenanceTask, delay: float) -> None:
        """As ``Pool.schedule_task``."""
        hasty = isinstance(task, loops.AddConnection)
        await super().schedule_task(task, min(delay, RECONNECT_SECONDS_MAX) if hasty else delay)


def _answers(conn: psycopg.Connection[Any]) -> bool:
    try:
        if opening.may_be_broken(conn.fileno()):
            Pool.check_connection(conn)
    except psycopg.Error:
        return False
    return True


async def _aanswers(conn: psycopg.AsyncConnection[Any]) -> bool:
    try:
        if opening.may_be_broken(conn.fileno()):
            await AsyncPool.check_connection(conn)
    except psycopg.Error:
        return False
    return True
