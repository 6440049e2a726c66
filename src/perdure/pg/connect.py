"""Connecting: the bounds a connection works under, and what it means when none can be made.

Every connection belongs to a purpose, and the purpose bounds how long it waits for a lock, how long a statement may
run, and how long it may sit in a transaction. When a connection can't be made there are two cases. Either somebody has
to change something (a wrong password, a missing database): that is a ``ConfigError`` and waiting won't help. Or the
server doesn't answer (it is starting, restarting, full, unreachable): that is ``ServerUnavailable``, and
``wait_for_server`` waits for it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import asyncpg
import psycopg

from ..core import limits
from ..core.errors import (
    ConfigError,
    DatabaseMissing,
    LoginRefused,
    PerdureError,
    PoolerInTheWay,
    ServerTooOld,
    ServerUnavailable,
    UnknownHost,
)
from ..core.op import one
from .drive import drive
from .pooler import IDENTIFY, REFUSED, PooledConnection, Terms, declared
from .url import database_of, for_asyncpg, options_of, shown, user_of

Purpose: TypeAlias = Literal["app", "handler", "claim", "settle", "keep", "beat", "listen", "maintenance", "migration"]

SERVER_VERSION_MIN = 15
"""The oldest Postgres that Perdure runs on; the tests run on it."""

NAME_SECONDS_MAX = 5.0
"""How long a name server that has no answer yet is given, before the host counts as unknown."""

PAUSE_SECONDS = 0.2
PAUSE_SECONDS_MAX = 5.0
REMIND_SECONDS = 15.0

SILENT_SECONDS = 5.0
"""How much later than the server itself a client gives up a statement."""

KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 15_000}
"""A peer that vanished without a word is noticed within about twenty seconds, not after the system's two hours."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a connection may wait for a lock, run a statement, sit in a transaction, and take to connect."""

    lock_ms: int
    statement_ms: int
    idle_in_transaction_ms: int
    connect_seconds: int = 10


BOUNDS: Mapping[Purpose, Bounds] = {
    "app": Bounds(lock_ms=5_000, statement_ms=30_000, idle_in_transaction_ms=60_000),
    # A handler that sits in its transaction for longer than this loses it: rescue leaves its job alone meanwhile.
    "handler": Bounds(
        lock_ms=5_000, statement_ms=30_000, idle_in_transaction_ms=int(limits.HANDLER_IDLE_SECONDS * 1000)
    ),
    "claim": Bounds(lock_ms=2_000, statement_ms=10_000, idle_in_transaction_ms=10_000),
    "settle": Bounds(lock_ms=1_000, statement_ms=30_000, idle_in_transaction_ms=10_000),
    "keep": Bounds(lock_ms=1_000, statement_ms=30_000, idle_in_transaction_ms=10_000),
    # A beat that takes longer than this has lost its worker anyway.
    "beat": Bounds(lock_ms=1_500, statement_ms=2_000, idle_in_transaction_ms=5_000, connect_seconds=5),
    "listen": Bounds(lock_ms=2_000, statement_ms=10_000, idle_in_transaction_ms=10_000),
    "maintenance": Bounds(lock_ms=1_000, statement_ms=60_000, idle_in_transaction_ms=30_000),
    # A migration's statements may take their time (0 is no bound); its locks may not.
    "migration": Bounds(lock_ms=2_000, statement_ms=0, idle_in_transaction_ms=60_000),
}


def bounds(purpose: Purpose) -> dict[str, str]:
    """The server's settings that bound what is done for this purpose, by name."""
    of = BOUNDS[purpose]
    return {
        "lock_timeout": str(of.lock_ms),
        "statement_timeout": str(of.statement_ms),
        "idle_in_transaction_session_timeout": str(of.idle_in_transaction_ms),
    }


def settings(purpose: Purpose) -> dict[str, str]:
    """The server's settings for a session of this purpose, by name."""
    return {
        **bounds(purpose),
        "tcp_keepalives_idle": str(KEEPALIVE["keepalives_idle"]),
        "tcp_keepalives_interval": str(KEEPALIVE["keepalives_interval"]),
        "tcp_keepalives_count": str(KEEPALIVE["keepalives_count"]),
    }


def application(purpose: Purpose, who: str = "") -> str:
    """What the server shows the session as; Postgres keeps 63 bytes of it."""
    return f"perdure-{purpose} {who}".strip()


def for_psycopg(url: str, purpose: Purpose, *, who: str = "") -> dict[str, Any]:
    """The keyword arguments of ``psycopg.connect``, sync or async. What the URL itself sets wins.

    ``who``: the worker, for the session's name.
    """
    ours = " ".join(f"-c {name}={value}" for name, value in settings(purpose).items())
    return {**for_pooler(url, purpose, who=who), "options": f"{ours} {options_of(url)}".strip(), "prepare_threshold": 5}


def for_pooler(url: str, purpose: Purpose, *, who: str = "") -> dict[str, Any]:
    """The same for a connection to a pooler, which takes no settings and keeps no prepared statement."""
    return {
        "conninfo": url,
        "connect_timeout": BOUNDS[purpose].connect_seconds,
        "application_name": application(purpose, who),
        "prepare_threshold": None,
        **KEEPALIVE,
    }


def for_pg(url: str, purpose: Purpose, *, who: str = "", **more: str) -> dict[str, Any]:
    """The keyword arguments of ``asyncpg.connect``; ``more`` are further settings of the server.

    A server that answers ends a statement by itself; the client's own bound, a little later, is for one that has
    vanished behind a wire that nobody closed.
    """
    bounds = BOUNDS[purpose]
    return {
        "dsn": for_asyncpg(url),
        "timeout": float(bounds.connect_seconds),
        "command_timeout": bounds.statement_ms / 1_000 + SILENT_SECONDS if bounds.statement_ms else None,
        "server_settings": {"application_name": application(purpose, who), **settings(purpose), **more},
    }


def connect(url: str, purpose: Purpose = "app") -> psycopg.Connection[Any]:
    """A psycopg connection in autocommit mode to a server that is new enough, or to a pooler before one.

    Raises ``ServerUnavailable`` when it doesn't answer, and one of the ``ConfigError`` classes when it can't work.
    """
    try:
        conn = _found(url, purpose)
    except psycopg.OperationalError as error:
        raise refusal(error, url) from error
    try:
        require_version(conn.info.server_version)
        if purpose == "migration" and isinstance(conn, PooledConnection):
            raise PoolerInTheWay(
                "leads to a pooler, and migrations need a session of their own",
                field="database URL",
                fix="give the URL of the server itself in PERDURE_DIRECT_URL",
            )
    except ConfigError:
        conn.close()
        raise
    return conn


def check_direct(conn: psycopg.Connection[Any], url: str) -> None:
    """Return when the URL leads past the pooler to the database that the connection reaches.

    Raises ``ConfigError`` classes, and ``ServerUnavailable``.
    """
    here = drive(conn, one(IDENTIFY))
    with connect(url, "maintenance") as straight:
        if isinstance(straight, PooledConnection):
            raise PoolerInTheWay(
                "leads to a pooler, too", field="PERDURE_DIRECT_URL", fix="give the URL of the server itself"
            )
        there = drive(straight, one(IDENTIFY))
    if (here.database, here.up_since) != (there.database, there.up_since):
        raise ConfigError(
            f"leads to another database ({shown(url)}) than the database URL",
            field="PERDURE_DIRECT_URL",
            fix="give the URL of the server and database that the pooler leads to",
        )


def pooled(url: str, purpose: Purpose = "app", *, who: str = "") -> PooledConnection:
    """A connection to what is known to be a pooler. Raises what psycopg raises."""
    conn = PooledConnection.connect(**for_pooler(url, purpose, who=who), autocommit=True)
    assert isinstance(conn, PooledConnection)
    conn.terms = Terms(bounds(purpose))
    return conn


def _found(url: str, purpose: Purpose) -> psycopg.Connection[Any]:
    """A connection, once it is known whether it leads to a pooler: unless the environment says so, it is one that
    refuses settings, or whose sessions are served by other processes than they were told."""
    known = declared()
    if known:
        return pooled(url, purpose)
    try:
        conn = psycopg.connect(**for_psycopg(url, purpose), autocommit=True)
    except psycopg.OperationalError as error:
        if known is None and REFUSED in str(error):
            return pooled(url, purpose)
        raise
    if conn.info.server_version < SERVER_VERSION_MIN * 10_000:
        return conn  # to be refused, and asked nothing before
    if known is None and drive(conn, one(IDENTIFY)).pid != conn.info.backend_pid:
        conn.close()
        return pooled(url, purpose)
    return conn


def require_version(number: int) -> None:
    """Raise ``ServerTooOld`` for a server that is older than SERVER_VERSION_MIN. ``number`` is like 150004."""
    if number < SERVER_VERSION_MIN * 10_000:
        raise ServerTooOld(
            f"is PostgreSQL {number // 10_000}, and Perdure needs {SERVER_VERSION_MIN} or newer",
            field="server",
            fix="upgrade it, or give the URL of a newer one",
        )


def wait_for_server(
    url: str,
    say: Callable[[str], None],
    deadline: float | None = None,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Return when the server takes connections; until then say what is wrong and try again, ever more rarely.

    ``deadline`` is in seconds from now, None waits for ever. ``pause`` is how to wait, so that a caller who is told to
    stop can raise from it. Raises ``ServerUnavailable`` at the deadline, a ``ConfigError`` class as soon as one shows.
    """
    began, rest, silent_until = time.monotonic(), PAUSE_SECONDS, 0.0
    while True:
        try:
            connect(url, "maintenance").close()
        except (ServerUnavailable, UnknownHost) as error:
            waited = time.monotonic() - began
            if isinstance(error, UnknownHost) and not (_undecided(error) and waited < NAME_SECONDS_MAX):
                raise
            if deadline is not None and waited + rest > deadline:
                raise
            if waited >= silent_until:
                say(f"waiting for Postgres at {shown(url)}: {error.message}")
                silent_until = waited + REMIND_SECONDS
            pause(rest)
            rest = min(PAUSE_SECONDS_MAX, rest * 2)
        else:
            if silent_until:
                say("Postgres answers")
            return


_HOST = (
    r"failed to resolve host|could not translate host name|name resolution|Name or service not known"
    r"|nodename nor servname"
)
_UNDECIDED = r"Temporary failure in name resolution|Try again"
_LOGIN = (
    r"authentication failed|no password supplied|role \"[^\"]*\" does not exist|pg_hba\.conf|is not permitted to log in"
    r"|permission denied for database|valid client certificate|no such user"
)
_DATABASE = r"database \"[^\"]*\" (?:does not exist|is not currently accepting connections)|no such database"
_SILENT = (
    r"Connection refused|timeout expired|timed out|No such file or directory|closed the connection|Connection reset"
    r"|the database system is|too many clients|too many connections|connection slots are reserved|No route to host"
    r"|unreachable|Host is down|terminating connection|could not receive data|could not send|SYSCALL error|Broken pipe"
    r"|no more connections allowed|cannot connect to server|server login has been failing|query_wait_timeout"
)


def refusal(error: BaseException, url: str) -> PerdureError:
    """Why no connection could be made, from what psycopg or asyncpg raised.

    libpq gives no SQLSTATE for a refused connection, so its words are read. They are English unless the server's
    ``lc_messages`` says otherwise; what isn't understood is shown as it is and not waited for, because a worker that
    waits in silence for something that will never happen is worse than one that ends with an error.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    state = error.sqlstate if isinstance(error, psycopg.Error | asyncpg.PostgresError) else None

    def says(pattern: str, *states: str) -> bool:
        return state.startswith(states) if state else re.search(pattern, text) is not None

    if says(_HOST, "-"):
        return UnknownHost(
            f"{shown(url)}: its host has no address ({text})", field="host", fix="correct the host of the database URL"
        )
    if says(_DATABASE, "3D", "55000"):
        return DatabaseMissing(
            f"{database_of(url)!r} isn't on the server ({text})",
            field="database",
            fix=f"create it (`createdb {database_of(url)}`), or correct the database URL",
        )
    if says(_LOGIN, "28", "42501"):
        return LoginRefused(
            f"the server refused {user_of(url)!r} ({text})",
            field="user",
            fix="correct user and password of the database URL, or pg_hba.conf on the server",
        )
    if says(_SILENT, "57P", "53", "08") or isinstance(error, OSError | TimeoutError | psycopg.errors.ConnectionTimeout):
        return ServerUnavailable(
            f"no connection ({text})", sqlstate=state, field="server", fix="start it, or correct the database URL"
        )
    return ConfigError(
        f"{shown(url)} can't be used ({text})", field="server", fix="correct the database URL or the server's settings"
    )


def _undecided(error: UnknownHost) -> bool:
    return re.search(_UNDECIDED, error.message) is not None
