"""Each way in which a connection can't be made is one clear error, or a wait that says what it waits for."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from perdure.core.errors import (
    ConfigError,
    DatabaseMissing,
    LoginRefused,
    PerdureError,
    ServerTooOld,
    ServerUnavailable,
    UnknownHost,
)
from perdure.pg.connect import BOUNDS, connect, for_pg, for_psycopg, refusal, require_version, wait_for_server
from tests import servers
from tests.conftest import Database, NewServer

SECRET = "s3cret"


@pytest.fixture(scope="module")
def locked(new_server: NewServer) -> Iterator[servers.Server]:
    """A server that asks everybody but its superuser for a password, and lets ``shut`` in under no circumstances."""
    with new_server() as server:
        with server.connect() as conn:
            conn.execute(f"create role clerk login password '{SECRET}'")
            conn.execute("create role sleeper nologin")
        (server.cluster.data / "pg_hba.conf").write_text(
            "local all postgres trust\nlocal all sleeper trust\nlocal all shut reject\nlocal all all scram-sha-256\n"
        )
        server.restart()
        yield server


def _as(server: servers.Server, user: str) -> str:
    return server.url.replace("postgres@", f"{user}@", 1)


def _refused(url: str) -> PerdureError:
    """The error of the connection, which psycopg and asyncpg must give alike, and which keeps the password back."""
    with pytest.raises(PerdureError) as caught:
        connect(url)

    async def again() -> PerdureError:
        try:
            await asyncpg.connect(**for_pg(url, "app"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return refusal(error, url)
        raise AssertionError("asyncpg connected where psycopg didn't")

    other = asyncio.run(again())
    assert type(other) is type(caught.value)
    assert SECRET not in f"{caught.value}{other}"
    assert caught.value.fix
    assert other.fix
    return caught.value


@pytest.mark.parametrize("user", ["clerk:wrong", "nobody_we_know:s3cret", "shut:s3cret", "sleeper:s3cret"])
def test_a_refused_login_names_the_user(locked: servers.Server, user: str) -> None:
    """A wrong password, an unknown user, a rule of pg_hba.conf and a role without login are all a refused login."""
    error = _refused(_as(locked, user))

    assert isinstance(error, LoginRefused)
    assert error.field == "user"
    assert user.partition(":")[0] in str(error)


def test_a_missing_password_is_a_refused_login(locked: servers.Server) -> None:
    """A server that wants a password, and gets none, refuses the login."""
    with pytest.raises(LoginRefused):
        connect(_as(locked, "clerk"))


def test_a_missing_database_is_named(server: servers.Server) -> None:
    """A database that the server doesn't have is named, with the command that makes it."""
    error = _refused(server.cluster.url("nowhere"))

    assert isinstance(error, DatabaseMissing)
    assert error.field == "database"
    assert "createdb nowhere" in str(error)


def test_an_unknown_host_is_named() -> None:
    """A host without an address is an error, not a server to wait for. `.invalid` never has one (RFC 2606)."""
    error = _refused(f"postgresql://user:{SECRET}@db.invalid/database")

    assert isinstance(error, UnknownHost)
    assert error.field == "host"
    assert "db.invalid" in str(error)


def test_an_unknown_host_is_not_waited_for_long() -> None:
    """Even waiting without a deadline ends with the error when the host has no address."""
    with pytest.raises(UnknownHost):
        wait_for_server("postgresql://db.invalid/database", lambda line: None)


def test_a_setting_the_server_refuses_is_shown(server: servers.Server) -> None:
    """What is neither login nor database nor silence is shown in the server's words, and not waited for."""
    with pytest.raises(ConfigError, match="no_such_setting"):
        wait_for_server(f"{server.url}&options=-c%20no_such_setting%3D1", lambda line: None)


def test_a_server_that_is_too_old_is_named() -> None:
    """PostgreSQL 14 is refused with both versions, 15 is taken."""
    require_version(150_000)

    with pytest.raises(ServerTooOld, match=r"PostgreSQL 14.*15 or newer"):
        require_version(140_018)


class _Enough(Exception):
    """Whoever waits has had enough of it."""


def _had_enough(seconds: float) -> None:
    raise _Enough


def test_a_port_nobody_listens_on_is_waited_for() -> None:
    """A refused connection is a server that doesn't answer; a deadline bounds the wait, and it is said."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"postgresql://user:{SECRET}@127.0.0.1:{unheard.getsockname()[1]}/database"
        assert isinstance(_refused(url), ServerUnavailable)
        said: list[str] = []
        with pytest.raises(ServerUnavailable):
            wait_for_server(url, lambda line: None, deadline=0.5)
        with pytest.raises(_Enough):
            wait_for_server(url, said.append, pause=_had_enough)

    assert "waiting for Postgres at postgresql://user@127.0.0.1" in said[0]
    assert SECRET not in "".join(said)


def test_a_server_that_is_down_is_waited_for_until_it_answers(new_server: NewServer) -> None:
    """The wait ends when the server starts; the first thing said is that it doesn't answer, the last that it does."""
    with new_server() as server:
        url = server.url
        server.cluster.stop()
        said: list[str] = []
        wait_for_server(url, said.append, pause=lambda seconds: server.cluster.start())

    assert [line.split()[0] for line in said] == ["waiting", "Postgres"]


def test_a_server_without_a_free_connection_is_waited_for(new_server: NewServer) -> None:
    """A full server is one that doesn't answer yet, whoever speaks to it."""
    with new_server(max_connections="4", superuser_reserved_connections="0") as server:
        held = [psycopg.connect(server.url) for _ in range(4)]
        assert isinstance(_refused(server.url), ServerUnavailable)
        for conn in held:
            conn.close()


@pytest.mark.parametrize("state", ["starting up", "shutting down", "in recovery mode", "not yet accepting connections"])
def test_a_server_between_states_is_waited_for(state: str) -> None:
    """A server that is coming or going says so, and that is no error of the set-up."""
    error = psycopg.OperationalError(f"connection failed: FATAL:  the database system is {state}")

    assert isinstance(refusal(error, "postgresql://host/db"), ServerUnavailable)


def test_a_refusal_wins_over_silence() -> None:
    """Of a name with two addresses, one silent and one refusing the password, the refusal is what matters."""
    error = psycopg.OperationalError(
        'connection to server at "::1", port 5432 failed: Connection refused\n'
        'connection to server at "127.0.0.1", port 5432 failed: FATAL:  password authentication failed for user "me"'
    )

    assert isinstance(refusal(error, "postgresql://me@localhost/db"), LoginRefused)


def test_every_purpose_bounds_its_sessions_on_both_drivers(db: Database) -> None:
    """Lock, statement and idle time-outs are set as the purpose says, through psycopg and through asyncpg."""
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "application_name")
    query = "select " + ", ".join(f"current_setting('{name}')" for name in names)

    async def asked(url: str, purpose: str) -> tuple[str, ...]:
        conn = await asyncpg.connect(**for_pg(url, purpose))  # type: ignore[arg-type]
        try:
            return tuple((await conn.fetch(query))[0])
        finally:
            await conn.close()

    for purpose, bounds in BOUNDS.items():
        with psycopg.connect(**for_psycopg(db.url, purpose)) as conn:
            found = conn.execute(query.encode()).fetchone()
            assert conn.execute("select setting::int from pg_settings where name = 'lock_timeout'").fetchone() == (
                bounds.lock_ms,
            )
            assert conn.execute("select setting::int from pg_settings where name = 'statement_timeout'").fetchone() == (
                bounds.statement_ms,
            )
        assert found == asyncio.run(asked(db.url, purpose))


def test_what_the_url_sets_wins(db: Database) -> None:
    """A time-out that the user put into the URL is kept, and so are the purpose's others."""
    with psycopg.connect(**for_psycopg(f"{db.url}&options=-c%20statement_timeout%3D123", "app")) as conn:
        assert conn.execute("show statement_timeout").fetchone() == ("123ms",)
        assert conn.execute("show lock_timeout").fetchone() == ("5s",)


def test_a_socket_that_is_not_there_is_waited_for() -> None:
    """A directory without a socket is a server that hasn't been started yet."""
    with tempfile.TemporaryDirectory() as empty, pytest.raises(ServerUnavailable):
        connect(f"postgresql://postgres@/postgres?host={Path(empty)}")
