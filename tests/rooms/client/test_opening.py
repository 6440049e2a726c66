"""A client finds its database when it is first needed, says what is wrong with it, and lives through a restart."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from psycopg_pool import PoolClosed

from perdure import AsyncClient, Client
from perdure.app.client import pools
from perdure.app.client.pools import Pool
from perdure.core.errors import (
    DatabaseMissing,
    InvalidOption,
    InvalidUrl,
    SchemaBehind,
    ServerUnavailable,
    StatementRefused,
    Unsupported,
)
from perdure.jobs.model import JobSpec
from perdure.pg import embedded
from perdure.pg.migrate import migrate
from tests.cli.terminal import until
from tests.conftest import Database, NewServer
from tests.rooms.client.shop import send_receipt

JOB = send_receipt.job(order_id=9182)
WAIT_SECONDS = 60.0


def test_a_client_is_made_without_io() -> None:
    """Making a client opens nothing; what can't be a URL or a schema is refused at once."""
    Client("postgresql://nobody@127.0.0.1:1/none").close()
    with pytest.raises(InvalidUrl):
        Client("mysql://localhost/shop")
    with pytest.raises(InvalidOption, match="schema"):
        Client("postgresql://localhost/shop", schema="no; schema")


def test_what_is_wrong_with_the_database_is_said(db: Database, empty_db: Database) -> None:
    """No server, no such database, a schema that isn't migrated: each is one clear error, and nothing is written."""
    with Client("postgresql://nobody@127.0.0.1:1/none") as client, pytest.raises(ServerUnavailable):
        client.jobs.enqueue(JOB)
    with Client(db.url.replace(f"/{db.name}", "/nowhere", 1)) as client, pytest.raises(DatabaseMissing):
        client.jobs.enqueue(JOB)
    with Client(empty_db.url) as client, pytest.raises(SchemaBehind, match="run `perdure migrate`"):
        client.jobs.enqueue(JOB)
    schemas = empty_db.connect().execute("select count(*) from pg_namespace where nspname = 'perdure'").fetchone()
    assert schemas == (0,)

    migrate(empty_db.connect())
    with Client(empty_db.url) as client:
        assert client.jobs.enqueue(JOB).id == 1


def test_a_borrowed_connection_says_when_the_schema_is_missing(empty_db: Database) -> None:
    """On a connection of the caller's, which nobody checked, the refusal names the missing table and the fix."""
    with pytest.raises(StatementRefused, match="perdure migrate"):
        Client(empty_db.url).on(empty_db.connect()).jobs.enqueue(JOB)


def test_a_client_works_in_the_schema_it_is_told(empty_db: Database) -> None:
    """Another schema's name is another Perdure in the same database."""
    migrate(empty_db.connect(), schema="shop")
    with Client(empty_db.url, schema="shop") as client:
        client.jobs.enqueue(JOB)
        client.jobs.enqueue_many([JOB, JOB])
        assert len(client.jobs.list()) == 3
    with Client(empty_db.url) as client, pytest.raises(SchemaBehind):
        client.jobs.list()


def test_a_closed_client_says_so(db: Database) -> None:
    """A client is closed as often as one likes, and isn't opened again by using it."""
    used, unused = Client(db.url), Client(db.url)
    used.jobs.enqueue(JOB)
    for client in (used, unused):
        client.close()
        client.close()
        with pytest.raises(Unsupported, match="client: is closed; make a new one"):
            client.jobs.enqueue(JOB)


async def test_a_closed_asynchronous_client_has_sent_everything(db: Database) -> None:
    """Closing waits for what was asked for before it, and refuses what comes after."""
    client = AsyncClient(db.url)
    asked = [asyncio.create_task(client.jobs.enqueue(JOB)) for _ in range(20)]
    await asyncio.sleep(0)
    await client.close()
    assert len({(await each).id for each in asked}) == 20
    with pytest.raises(Unsupported, match="client: is closed"):
        await client.jobs.enqueue(JOB)


def test_an_asynchronous_client_belongs_to_one_loop(db: Database) -> None:
    """A second event loop is told to make a client of its own."""
    client = AsyncClient(db.url)

    async def use() -> None:
        await client.jobs.enqueue(JOB)

    with asyncio.Runner() as first:
        first.run(use())
        with pytest.raises(Unsupported, match="one AsyncClient for each event loop"):
            asyncio.run(use())
        first.run(client.close())


def _break_all(db: Database, expected: int) -> None:
    """End every session of the clients on the server, as a restart does, once there are no others: the one in which a
    client has looked at its database takes a moment to go."""
    conn = db.connect()
    sessions = (
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'perdure-app'"
    )
    until("the sessions of the pool alone", lambda: conn.execute(sessions).fetchone() == (expected,))
    ended = conn.execute(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
        "where datname = current_database() and application_name = 'perdure-app'"
    )
    assert ended.fetchall() == [(True,)] * expected


def test_an_idle_connection_that_broke_is_replaced(db: Database) -> None:
    """After its connections were ended on the server, the client's next call works (guard: the look at the socket)."""
    with Client(db.url) as client:
        client.jobs.enqueue(JOB)
        _break_all(db, 1)
        assert client.jobs.enqueue(JOB).id == 2


def test_ten_connections_that_broke_together_cost_no_waiting(db: Database) -> None:
    """After a restart of the server the first transaction works, though each of the ten connections in the pool is
    broken. Red with psycopg's own check, which waits ever longer after each, past the bound of a caller."""
    with Client(db.url) as client:
        with ExitStack() as held:
            for _ in range(10):
                held.enter_context(client.transaction())
        _break_all(db, 10)
        with client.transaction() as tx:
            assert tx.jobs.enqueue(JOB).id == 1


async def test_ten_connections_that_broke_together_cost_no_waiting_on_a_loop(db: Database) -> None:
    """The same for the asynchronous client."""
    async with AsyncClient(db.url) as client:
        async with AsyncExitStack() as held:
            for _ in range(10):
                await held.enter_async_context(client.transaction())
        await asyncio.to_thread(_break_all, db, 10)
        async with client.transaction() as tx:
            assert (await tx.jobs.enqueue(JOB)).id == 1


def test_a_server_that_stays_away_is_tried_every_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a caller waits for a connection, the attempts to connect don't become rarer: the sixth one comes within its
    ten seconds. Red without the bound on the pause, which doubles."""
    monkeypatch.setattr(pools, "RECONNECT_SECONDS_MAX", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as nobody, ThreadPoolExecutor(1) as other:
        port = nobody.getsockname()[1]
        with Pool(
            f"host=127.0.0.1 port={port} user=nobody sslmode=disable gssencmode=disable",
            min_size=0,
            max_size=1,
            open=True,
        ) as pool:
            waiting = other.submit(pool.take)
            for _ in range(6):
                nobody.accept()[0].close()
            assert not waiting.done()
        assert isinstance(waiting.exception(WAIT_SECONDS), PoolClosed)


def test_a_bad_job_fails_its_own_thread_only(db: Database) -> None:
    """Among the jobs of sixteen threads one is refused by Postgres; the others are written, once each."""
    bad = JobSpec(task="t", payload="{}").with_payload("no JSON")
    failed: list[int] = []
    with Client(db.url) as client:

        def call(number: int) -> None:
            try:
                client.jobs.enqueue(bad if number == 7 else JOB, key=f"order:{number}")
            except StatementRefused:
                failed.append(number)

        threads = [threading.Thread(target=call, args=[number]) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
        kept = [job.key for job in client.jobs.list()]

    assert failed == [7]
    assert sorted(map(str, kept)) == sorted(f"order:{number}" for number in range(16) if number != 7)


def test_the_embedded_postgres_is_started_and_migrated(
    new_server: NewServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a URL the first use starts the embedded Postgres, migrates it, and works; the second finds it so."""
    if request.config.getoption("--pg") != "18":
        pytest.skip("the embedded Postgres is of one version")
    # Not in pytest's own folder, which any other run of pytest closes to the user that the server may run as.
    with TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        monkeypatch.setenv("PERDURE_HOME", str(home / "home"))
        try:
            for expected in (1, 2):
                with Client() as client:
                    assert client.jobs.enqueue(JOB).id == expected
        finally:
            embedded.stop(home / "home")
