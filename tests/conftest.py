"""What every test may ask for: a Postgres server of its worker, and in it a migrated database of its own.

``--pg=18`` (or PERDURE_TEST_PG; the default) runs everything on the server embedded in the wheel; ``--pg=15`` runs the
tests that need a database on the oldest server we support, and leaves out those that don't, and those marked ``newest``
(a module, a test or a parameter), because what they show is the same on any server. No test reaches the developer's own
database: the environment is emptied of everything that names one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

import psycopg
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from perdure.pg.migrate import migrate
from tests import servers
from tests.pooler import Pooler, pooling


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--pg``: which server the tests run on."""
    parser.addoption(
        "--pg",
        choices=servers.VERSIONS,
        default=os.environ.get("PERDURE_TEST_PG", "18"),
        help="the major version of Postgres to test on",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Forget every database the developer's environment names, here and in the processes that tests start."""
    for name in list(os.environ):
        if name == "DATABASE_URL" or (name.startswith(("PERDURE_", "PG")) and not name.startswith("PERDURE_TEST_")):
            del os.environ[name]
    # A shell starts what it puts into the background with SIGINT ignored, and so would everything the tests start be.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # An embedded server that a test starts without saying where can't be made here, and the test fails.
    os.environ["PERDURE_HOME"] = os.path.join(os.devnull, "perdure")


FREE_SECONDS_MAX = 60.0

TIDY = "tests/tidy/"
LONG = ("upgrade", "examples", "e2e", "chaos", "docs", "cli")
"""Folders whose tests are long ones. They begin first, so that none of them is what everybody waits for at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the tests, and their order: the long ones first."""
    _choose(config, items)
    items.sort(key=lambda item: LONG.index(folder) if (folder := _folder(item)) in LONG else len(LONG))


class Spread(LoadScopeScheduling):  # type: ignore[misc]
    """Hands tests to the processes one by one; together those of a file that has a fixture for all of them, and those
    that read the whole repository."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith(TIDY):
            return TIDY
        return file if _shares(self.config.rootpath / file) else nodeid


@cache
def _shares(file: Path) -> bool:
    return 'scope="module"' in file.read_text()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread:
    """How the tests are spread over several processes (``-n``)."""
    return Spread(config, log)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


def _choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the oldest server leave out the tests that use none, or don't ask which; they have run on the newest."""
    if config.getoption("--pg") == "18":
        return
    chosen = [
        item
        for item in items
        if {"server", "new_server"} & set(getattr(item, "fixturenames", ())) and not item.get_closest_marker("newest")
    ]
    left = [item for item in items if item not in set(chosen)]
    config.hook.pytest_deselected(items=left)
    items[:] = chosen


@dataclass
class Database:
    """A database of one test. ``connect`` gives an autocommit connection that is closed when the test ends."""

    server: servers.Server
    name: str
    schema: str = "perdure"
    _closing: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """The database's URL, which any process of this machine may use while the test runs."""
        return self.server.cluster.url(self.name)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A psycopg connection in autocommit mode."""
        conn = psycopg.connect(self.url, autocommit=True, **options)
        self._closing.callback(conn.close)
        return conn

    def close(self) -> None:
        """Close every connection that was given out."""
        self._closing.close()


NewServer: TypeAlias = Callable[..., AbstractContextManager[servers.Server]]


@pytest.fixture(scope="session")
def new_server(request: pytest.FixtureRequest) -> NewServer:
    """A maker of further servers, with settings of their own: a context manager, which takes about a second."""
    return partial(servers.running, request.config.getoption("--pg"))


@pytest.fixture(scope="session")
def server(new_server: NewServer) -> Iterator[servers.Server]:
    """The server of this test process. A test that stops or starts it leaves it running."""
    with new_server() as started:
        yield started


@pytest.fixture(scope="session")
def pooler(server: servers.Server) -> Iterator[Pooler]:
    """PgBouncer in transaction mode before that server, with one server session for each database."""
    with pooling(server, default_pool_size="1") as started:
        yield started


@pytest.fixture(scope="session")
def new_database(server: servers.Server) -> Callable[[str, str], Database]:
    """Makes databases: ``new_database("test", template)`` makes ``test_1``, then ``test_2``."""
    numbers = count(1)

    def make(name: str, template: str) -> Database:
        with server.connect() as conn:
            made = f"{name}_{next(numbers)}"
            _once_it_is_free(conn, f"create database {made} template {template} strategy file_copy")
        return Database(server, made)

    return make


@pytest.fixture(scope="session")
def template(new_database: Callable[[str, str], Database]) -> str:
    """The name of a migrated database, of which each test gets a copy: a copy takes less time than the migrations."""
    database = new_database("migrated", "template0")
    migrate(database.connect())
    database.close()
    return database.name


def _dropped(database: Database) -> None:
    """Drop the database, with whatever sessions and prepared transactions the test left in it."""
    database.close()
    with database.server.connect() as conn:
        left = conn.execute("select gid from pg_prepared_xacts where database = %s", [database.name]).fetchall()
        if left:
            with database.server.connect(database.name) as inside:
                for (prepared,) in left:
                    inside.execute(f"rollback prepared '{prepared}'")
        _once_it_is_free(conn, f"drop database {database.name} with (force)")


def _once_it_is_free(conn: psycopg.Connection[Any], statement: str) -> None:
    """Postgres gives sessions that end in a database five seconds, which a busy machine may take longer for."""
    deadline = monotonic() + FREE_SECONDS_MAX
    while True:
        try:
            conn.execute(statement.encode())
        except psycopg.errors.ObjectInUse:
            if monotonic() > deadline:
                raise
        else:
            return


@pytest.fixture
def db(new_database: Callable[[str, str], Database], template: str) -> Iterator[Database]:
    """A migrated database of the test's own: its locks, its notifications and its tables are nobody else's."""
    database = new_database("test", template)
    yield database
    _dropped(database)


@pytest.fixture
def empty_db(new_database: Callable[[str, str], Database]) -> Iterator[Database]:
    """A database of the test's own without anything in it, for tests of the migrations themselves."""
    database = new_database("empty", "template0")
    yield database
    _dropped(database)
