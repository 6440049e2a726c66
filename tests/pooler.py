"""PgBouncer before a test's server: the real one, in transaction mode, listening on a socket of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.servers import Server

PORT = 6432
"""Part of the socket's name: no port is opened."""

START_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Pooler:
    """A running PgBouncer. ``url`` of a database leads through it, and every database has one pool of its own."""

    sockets: Path
    process: subprocess.Popen[bytes]

    def url(self, database: str) -> str:
        """The database's URL through the pooler."""
        return f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.sockets))}&port={PORT}"

    def command(self, text: str) -> list[tuple[object, ...]]:
        """What the pooler's own console answers, for example to ``show pools``."""
        with psycopg.connect(self.url("pgbouncer"), autocommit=True) as conn:
            # The console speaks the simple protocol only.
            cursor = psycopg.ClientCursor(conn).execute(text.encode())
            return cursor.fetchall() if cursor.description else []


def program() -> str:
    """Where PgBouncer is. Skips the test, saying how to install it, where it is missing."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer (or tools/apt.sh)")
    return found


@contextmanager
def pooling(server: Server, **settings: str) -> Iterator[Pooler]:
    """PgBouncer in transaction mode before the server; ``settings`` replace lines of its configuration."""
    owner, home = server.cluster.owner, Path(tempfile.mkdtemp(prefix="perdure-pooler-"))
    os.chown(home, owner.uid, owner.gid)
    lines = {
        "pool_mode": "transaction",
        "default_pool_size": "4",
        "auth_type": "any",
        "admin_users": "postgres",
        "listen_port": str(PORT),
        "unix_socket_dir": str(home),
        "logfile": str(home / "pooler.log"),
        "max_client_conn": "200",
    } | settings
    config = home / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host={server.cluster.sockets} user=postgres\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in lines.items())
    )
    config.chmod(0o644)
    process = subprocess.Popen(
        [program(), "-q", str(config)],
        cwd="/",
        stderr=subprocess.DEVNULL,
        **owner.switches,  # type: ignore[call-overload]
    )
    pooler = Pooler(home, process)
    try:
        _await(pooler)
        yield pooler
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def _await(pooler: Pooler) -> None:
    """Return when it takes connections."""
    for _ in range(int(START_SECONDS_MAX / 0.05)):
        try:
            pooler.command("show version")
        except psycopg.OperationalError:
            try:
                pooler.process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        return
    raise AssertionError(f"PgBouncer didn't start:\n{(pooler.sockets / 'pooler.log').read_text()}")
