"""Finding the database of a client: once, when it is first needed, with a clear error when it can't be used."""

from __future__ import annotations

import os
import select
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ...core.errors import DatabaseError, ServerUnavailable, Unsupported
from ...pg.connect import Purpose, bounds, connect, for_pooler, for_psycopg
from ...pg.migrate import check, migrate, plan
from ...pg.pooler import AsyncPooledConnection, PooledConnection, Terms
from ...pg.url import resolve

CONNECTIONS_MAX: Final = 10
"""Connections that one client opens at most; who finds all in use waits."""

CONNECTION_SECONDS_MAX: Final = 10.0
"""How long a caller waits for one of them."""


def find(url: str | None, schema: str) -> tuple[str, bool]:
    """The URL of a database whose schema this code can work on, and whether it leads to a pooler.

    The embedded Postgres, which nobody else looks after, is migrated; a server somebody named is only checked. Raises
    the ConfigError classes, SchemaBehind among them, and ServerUnavailable.
    """
    ours = url is None and not os.environ.get("DATABASE_URL")
    found = resolve(url)
    with connect(found, "migration" if ours else "app") as conn:
        if ours and plan(conn, schema=schema):
            migrate(conn, schema=schema)
        check(conn, schema=schema)
        return found, isinstance(conn, PooledConnection)


def pool_settings(url: str, purpose: Purpose, pooled: bool, connections: int) -> dict[str, Any]:
    """The keyword arguments of psycopg's pools: nothing is opened before it is needed."""
    settings = {**(for_pooler if pooled else for_psycopg)(url, purpose), "autocommit": True}
    return {
        "conninfo": settings.pop("conninfo"),
        "kwargs": settings,
        "min_size": 0,
        "max_size": connections,
        "timeout": CONNECTION_SECONDS_MAX,
        "open": False,
        "name": "perdure",
    }


def bind(purpose: Purpose) -> Callable[[PooledConnection], None]:
    """Gives a new connection to a pooler its terms."""

    def bound(conn: PooledConnection) -> None:
        conn.terms = Terms(bounds(purpose))

    return bound


def abind(purpose: Purpose) -> Callable[[AsyncPooledConnection], Awaitable[None]]:
    """The same, for asynchronous ones."""

    async def bound(conn: AsyncPooledConnection) -> None:
        conn.terms = Terms(bounds(purpose))

    return bound


def may_be_broken(socket: int) -> bool:
    """Whether something has come in on a connection that nobody was using: mostly its server's farewell.

    Costs 2 µs and no round trip, so that every use can begin with it.
    """
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def unavailable(error: Exception, connections: int, purpose: Purpose) -> DatabaseError:
    """No connection could be had from the pool, or no server be found. A worker's is marked as such."""
    if not isinstance(error, ServerUnavailable):
        more = ": give their queue more (connections=…)" if purpose == "handler" else ""
        error = ServerUnavailable(
            f"no connection within {CONNECTION_SECONDS_MAX:g} s ({error})",
            field="server",
            fix=f"see that the server answers, and that not all of the {connections} connections here are in use{more}",
        )
    error.of_worker = purpose == "handler"
    return error


def closed() -> Unsupported:
    """The client was closed."""
    return Unsupported("is closed", field="client", fix="make a new one")
