"""Sessions through PgBouncer in transaction mode: how it is noticed, what bounds them, and that they leave nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from perdure import AsyncClient, Client
from perdure.core.errors import ConfigError, ConnectionLost, InvalidOption, PoolerInTheWay
from perdure.core.op import Statement, rows
from perdure.pg import connect as connecting
from perdure.pg.connect import BOUNDS, bounds, connect, for_pooler, for_psycopg, pooled
from perdure.pg.drive import adrive, drive
from perdure.pg.link import PLANS, Link
from perdure.pg.pooled import PooledLink
from perdure.pg.pooler import AsyncPooledConnection, PooledConnection, Terms, declared
from perdure.pg.url import direct
from tests.conftest import Database
from tests.pooler import Pooler, pooling
from tests.rooms.client.shop import send_receipt

SETTINGS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
SHOWN = Statement(
    "test.shown",
    "select name, setting from pg_settings where name = any(%(names)s::text[])",
    lambda row: (str(row["name"]), str(row["setting"])),
)
SESSION = """
select (select array_agg(name || '=' || setting order by name) from pg_settings where name = any(%s)) as settings,
       (select count(*) from pg_prepared_statements) as prepared,
       (select count(*) from pg_listening_channels()) as listens,
       (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
       pg_backend_pid() as pid
"""
"""What a session has that outlives a transaction."""


@pytest.fixture
def stranger(db: Database, pooler: Pooler) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Another client of the pooler, which is served by the one session of the server that we are."""
    with closing(psycopg.connect(pooler.url(db.name), autocommit=True, prepare_threshold=None)) as conn:
        yield conn


def _expected(purpose: str) -> dict[str, str]:
    found = BOUNDS[purpose]  # type: ignore[index]
    return dict(zip(SETTINGS, map(str, (found.lock_ms, found.statement_ms, found.idle_in_transaction_ms)), strict=True))


def test_what_bounds_our_statements_leaks_to_nobody(
    db: Database, pooler: Pooler, stranger: psycopg.Connection[tuple[object, ...]]
) -> None:
    """After clients of both colours and a worker's link have worked through a pooler, the one session that served them
    all has the settings it had before, no prepared statement, no lock and no LISTEN [OPS-26, KIT-20]. Red when a
    setting is made for the session instead of the transaction, and when psycopg may prepare."""
    url, watched = pooler.url(db.name), [*SETTINGS, *PLANS]
    before = stranger.execute(SESSION, [watched]).fetchall()

    async def work() -> None:
        link = PooledLink(url, "perdure", "claim")
        async with AsyncClient(url) as client, client.transaction() as tx:
            await tx.jobs.enqueue(send_receipt.job(order_id=1))
        for _ in range(7):  # psycopg prepares what is sent more than five times
            await link.run(rows(SHOWN, names=watched))
            await link.transaction(rows(SHOWN, names=watched))
        await link.close()

    with Client(url) as client:
        for _ in range(7):
            client.jobs.enqueue(send_receipt.job(order_id=1))
            with client.transaction() as tx:
                tx.jobs.enqueue_many([send_receipt.job(order_id=n) for n in (1, 2)])
    asyncio.run(work())

    assert stranger.execute(SESSION, [watched]).fetchall() == before


def test_nothing_is_sent_after_the_sync(db: Database, pooler: Pooler, tmp_path: Path) -> None:
    """A statement's last message through a pooler is its Sync, with a connection of either colour [OPS-26]. Red when
    psycopg's own pipeline is used: its Flush, when it comes after the answer, keeps the server's session to the client
    for ever, and everybody else waits until PgBouncer sends them away."""
    url = pooler.url(db.name)

    @contextmanager
    def traced(conn: psycopg.Connection[object] | psycopg.AsyncConnection[object], name: str) -> Iterator[None]:
        with (tmp_path / name).open("wb") as file:
            conn.pgconn.trace(file.fileno())
            yield
            conn.pgconn.untrace()

    async def work() -> None:
        async with await AsyncPooledConnection.connect(**for_pooler(url, "app"), autocommit=True) as conn:
            conn.terms = Terms(bounds("app"))
            with traced(conn, "async"):
                await adrive(conn, rows(SHOWN, names=[]))

    with PooledConnection.connect(**for_pooler(url, "app"), autocommit=True) as conn:
        conn.terms = Terms(bounds("app"))
        with traced(conn, "sync"):
            drive(conn, rows(SHOWN, names=[]))
    asyncio.run(work())

    for name in ("sync", "async"):
        sent = [line.split("\t")[3] for line in (tmp_path / name).read_text().splitlines() if "\tF\t" in line]
        assert sent.count("Execute") == 2
        assert sent[-1] == "Sync"


def _client(url: str) -> dict[str, str]:
    with Client(url) as client:
        return dict(client._pooled.ask(rows(SHOWN, names=list(SETTINGS))))


def _client_transaction(url: str) -> dict[str, str]:
    with Client(url) as client, client.transaction() as tx:
        return dict(drive(tx.connection, rows(SHOWN, names=list(SETTINGS))))


def _async_client(url: str) -> dict[str, str]:
    async def ask() -> dict[str, str]:
        async with AsyncClient(url) as client:
            return dict(await client._pooled.ask(rows(SHOWN, names=list(SETTINGS))))

    return asyncio.run(ask())


def _async_client_transaction(url: str) -> dict[str, str]:
    async def ask() -> dict[str, str]:
        async with AsyncClient(url) as client, client.transaction() as tx:
            return dict(await adrive(tx.connection, rows(SHOWN, names=list(SETTINGS))))

    return asyncio.run(ask())


CLIENTS: list[Callable[[str], dict[str, str]]] = [
    _client, _client_transaction, _async_client, _async_client_transaction,
]  # fmt: skip


@pytest.mark.parametrize("asked", CLIENTS)
@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_every_connection_of_a_client_is_bounded(
    db: Database, pooler: Pooler, way: str, asked: Callable[[str], dict[str, str]]
) -> None:
    """Statements and transactions of both clients wait, run and idle no longer than the class `app` may, with a session
    of their own and through a pooler [OPS-18, KIT-17]. Red when a pooled transaction is begun without its terms."""
    assert asked(db.url if way == "direct" else pooler.url(db.name)) == _expected("app")


@pytest.mark.parametrize("purpose", ["claim", "settle", "maintenance"])
@pytest.mark.parametrize("kind", [Link, PooledLink])
async def test_every_connection_of_a_worker_is_bounded_and_pins_its_plans(
    db: Database, pooler: Pooler, purpose: str, kind: type[Link]
) -> None:
    """The statements and the transactions of a worker's links work under the bounds of their class and with the plans
    that hot statements need, through a pooler too, and so does its heart [OPS-18]. Red when the link's terms lack
    one."""
    url = db.url if kind is Link else pooler.url(db.name)
    link = kind(url, "perdure", purpose, who="a worker")  # type: ignore[arg-type]
    names = [*SETTINGS, *PLANS]
    try:
        for drive_ in (link.run, link.transaction):
            assert dict(await drive_(rows(SHOWN, names=names))) == _expected(purpose) | PLANS
    finally:
        await link.close()
    with closing(pooled(pooler.url(db.name), "beat")) as heart:
        assert dict(drive(heart, rows(SHOWN, names=list(SETTINGS)))) == _expected("beat")


@pytest.mark.parametrize("ignored", ["", "options,lock_timeout,statement_timeout"])
def test_a_pooler_is_noticed(db: Database, ignored: str) -> None:
    """A pooler that refuses the settings of a session is noticed by that, one that swallows them by the process that
    answers, which isn't the one the session was told of [KIT-20]. Red when either is left out."""
    more = {"ignore_startup_parameters": ignored} if ignored else {}
    with pooling(db.server, **more) as pooler, connect(pooler.url(db.name)) as through, connect(db.url) as straight:
        assert isinstance(through, PooledConnection)
        assert not isinstance(straight, PooledConnection)


def test_the_environment_has_the_last_word(db: Database, pooler: Pooler, monkeypatch: pytest.MonkeyPatch) -> None:
    """PERDURE_POOLER says what can't be found out: that a pooler is there, or that none is. Anything else is refused by
    name. Guard: `declared` is asked first."""
    monkeypatch.setenv("PERDURE_POOLER", "transaction")
    with connect(db.url) as conn:
        assert isinstance(conn, PooledConnection)
    monkeypatch.setenv("PERDURE_POOLER", "none")
    with pytest.raises(ConfigError, match="unsupported startup parameter"):
        connect(pooler.url(db.name))
    with pytest.raises(InvalidOption, match="PERDURE_POOLER"):
        declared({"PERDURE_POOLER": "session"})


def test_a_migration_needs_the_server_itself(db: Database, pooler: Pooler) -> None:
    """Migrations through a pooler are refused with the variable to set; a direct URL that leads to another database, or
    to a pooler again, is refused, too. Red without the check of the purpose, and without `check_direct`."""
    with pytest.raises(PoolerInTheWay, match="PERDURE_DIRECT_URL"):
        connect(pooler.url(db.name), "migration")
    assert direct(environ={"PERDURE_DIRECT_URL": db.url}) == db.url
    with connect(pooler.url(db.name)) as conn:
        connecting.check_direct(conn, db.url)
        with pytest.raises(PoolerInTheWay):
            connecting.check_direct(conn, pooler.url(db.name))
        with pytest.raises(ConfigError, match="another database"):
            connecting.check_direct(conn, db.server.url)


async def test_another_server_behind_the_pooler_is_a_lost_connection(db: Database, pooler: Pooler) -> None:
    """A pooler hides that its server was started anew; an idle link learns of it all the same at its next statement, as
    ConnectionLost, and works on after that: a worker then makes sure what it holds. Red without `Terms.answered`."""
    link = PooledLink(pooler.url(db.name), "perdure", "claim")
    try:
        await link.run(rows(SHOWN, names=["jit"]))
        await asyncio.to_thread(_restart, db, pooler)
        with pytest.raises(ConnectionLost):
            await link.run(rows(SHOWN, names=["jit"]))
        assert await link.run(rows(SHOWN, names=["jit"])) == [("jit", "off")]
    finally:
        await link.close()


def _restart(db: Database, pooler: Pooler) -> None:
    """Restart the server while the pooler holds its clients back, so that none of them notices."""
    pooler.command("pause")
    db.server.restart()
    pooler.command("resume")


def test_a_session_of_ones_own_is_as_before(db: Database) -> None:
    """Without a pooler psycopg prepares what it sends often, as it did. Guard: only a pooler turns that off."""
    assert for_psycopg(db.url, "app")["prepare_threshold"] == 5
