"""The embedded Postgres: made once, found by everybody, and back after whatever was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure.core.errors import ServerUnavailable, Unsupported
from perdure.pg import embedded, lodging
from perdure.pg.cluster import Owner
from perdure.pg.url import resolve
from tests.servers import ground, nobody

ENSURE = "import sys; from perdure.pg import embedded; print(embedded.ensure(sys.argv[1]))"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """The home of an embedded server that several tests use; not in pytest's directory, which is closed to others."""
    yield from _home()


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home of the test's own."""
    yield from _home()


def _home() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="perdure-test-", dir=ground()))
    made.chmod(0o755)
    yield made / "home"
    embedded.stop(made / "home")
    shutil.rmtree(made, ignore_errors=True)


def _command(home: Path) -> list[str]:
    return [sys.executable, "-c", ENSURE, str(home)]


def _environ() -> dict[str, str]:
    """The import path of this process, for one that runs as another user in another directory."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}


def _run(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(home), capture_output=True, text=True, env=_environ(), timeout=120)


def _as_nobody(home: Path) -> subprocess.CompletedProcess[str]:
    """Run it as the user nobody, with the first Python of our version that this user may run."""
    user = nobody()
    switched: dict[str, Any] = {"user": user.uid, "group": user.gid, "extra_groups": [], "cwd": "/", "env": _environ()}
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with suppress(OSError):
            found = subprocess.run([python, "-c", "import psycopg, perdure.pg"], capture_output=True, **switched)
            if found.returncode == 0:
                command = [python, *_command(home)[1:]]
                return subprocess.run(command, capture_output=True, text=True, timeout=120, **switched)
    pytest.skip("the user nobody can't enter the directory of this Python, or of this repository")


def _pid(home: Path) -> int:
    pid = embedded.status(home).pid
    assert pid is not None
    return pid


def test_the_first_start_says_what_it_does_and_the_second_finds_it(home: Path) -> None:
    """The first caller makes and starts a server and says so; another process gets the same one without a word."""
    said: list[str] = []
    url = embedded.ensure(home, say=said.append)
    other = _run(home)

    assert str(home) in said[0]
    assert "PostgreSQL" in said[0]
    assert (other.stdout.strip(), other.stderr) == (url, "")


def test_a_commit_is_a_promise_and_no_port_is_open(shared: Path) -> None:
    """The server writes through to the disk, listens on no address, and lets no other user into its socket."""
    with psycopg.connect(embedded.ensure(shared)) as conn:
        found = [
            conn.execute(f"show {name}").fetchone() for name in ("fsync", "synchronous_commit", "listen_addresses")
        ]

    assert found == [("on",), ("on",), ("",)]
    assert (shared / "data").stat().st_mode & 0o077 == 0


def test_processes_that_start_it_at_once_share_one_server(home: Path) -> None:
    """Four processes that all find nothing end with the same URL, and one of them has made the server."""
    started = [
        subprocess.Popen(_command(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environ())
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=120) for process in started]

    assert len({url for url, _ in ended}) == 1
    assert sum("making an embedded" in said for _, said in ended) == 1
    assert embedded.status(home).running


def test_a_killed_server_is_started_again_with_its_data(shared: Path) -> None:
    """After kill -9 of the postmaster the next caller starts a new one, and what was committed is there."""
    with psycopg.connect(embedded.ensure(shared), autocommit=True) as conn:
        conn.execute("create table kept as select 9182 as id")
    killed = _pid(shared)
    os.kill(killed, signal.SIGKILL)
    with psycopg.connect(embedded.ensure(shared)) as conn:
        assert conn.execute("select id from kept").fetchone() == (9182,)

    assert _pid(shared) != killed


def test_who_finds_another_at_it_waits_and_says_so_once(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else starts or ends the server here, a caller waits, says so once, and has a server when that one
    lets go. Red when it goes on without the lock, gives up, or says it at every look."""
    embedded.ensure(shared)
    embedded.stop(shared)
    monkeypatch.setattr(embedded, "_PATIENCE_SECONDS", 0.0)
    other, said, looks = os.open(shared / "lock", os.O_RDONLY), list[str](), list[bool]()
    taken = embedded._taken

    def looked(lock: int) -> bool:
        looks.append(taken(lock))
        if len(looks) == 5:
            os.close(other)
        return looks[-1]

    monkeypatch.setattr(embedded, "_taken", looked)
    fcntl.flock(other, fcntl.LOCK_EX)
    url = embedded.ensure(shared, say=said.append)

    assert looks == [False] * 5 + [True]
    assert [line for line in said if "another process" in line] == said[:1]
    with psycopg.connect(url) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


def test_who_waits_too_long_is_told_who_holds_it(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that doesn't answer while processes of an earlier one hold its lock is waited for as long as a start may
    take, and no longer: the error names the lock. Red without the deadline: nobody would ever hear why."""
    embedded.ensure(shared)
    embedded.stop(shared)
    monkeypatch.setattr(embedded, "START_SECONDS_MAX", 0.0)
    other = os.open(shared / "lock", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        with pytest.raises(ServerUnavailable, match=rf"fuser {shared / 'lock'}"):
            embedded.ensure(shared)
    finally:
        os.close(other)
    assert not embedded.status(shared).running


def test_a_starter_that_is_killed_leaves_nothing_in_the_way(home: Path) -> None:
    """A process killed -9 while it makes the data leaves no half of it: the next one makes and starts the server."""
    starter = subprocess.Popen(_command(home), stderr=subprocess.PIPE, text=True, env=_environ())
    assert starter.stderr is not None
    assert "making an embedded" in starter.stderr.readline()
    starter.kill()
    starter.communicate(timeout=30)

    with psycopg.connect(embedded.ensure(home, say=lambda line: None)) as conn:
        assert conn.execute("select 1").fetchone() == (1,)


def test_a_pid_that_is_in_use_again_is_not_the_server(shared: Path) -> None:
    """A stale pid file that names a living process of the same user stops nothing, as Postgres alone would be."""
    embedded.ensure(shared)
    embedded.stop(shared)
    there = (shared / "data").stat()
    switched = Owner(there.st_uid, there.st_gid).switches
    bystander = subprocess.Popen(["sleep", "300"], cwd="/", **switched)  # type: ignore[call-overload]
    try:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            stale = shared / "data" / name
            stale.write_text(
                f"{bystander.pid}\n{shared / 'data'}\n1700000000\n5432\n{shared / 'data'}\n\n 0 0\nready\n"
            )
            os.chown(stale, there.st_uid, there.st_gid)
        embedded.ensure(shared)

        assert embedded.status(shared).running
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_stopping_is_said_once_and_starting_again_works(shared: Path) -> None:
    """``stop`` says whether there was a server to stop; ``status`` and ``ensure`` agree with it."""
    url = embedded.ensure(shared)
    assert embedded.status(shared).url == url
    assert embedded.stop(shared)
    assert not embedded.stop(shared)
    assert embedded.status(shared) == embedded.Status(shared, False, None, None)
    assert embedded.ensure(shared) == url


def test_asking_for_the_status_makes_nothing(home: Path) -> None:
    """``status`` and ``stop`` leave a directory that was never used as it is."""
    assert not embedded.status(home).running
    assert not embedded.stop(home)
    assert not home.exists()


def test_data_of_another_postgres_is_refused(shared: Path) -> None:
    """A directory made by another major version is left alone, with both versions named."""
    embedded.ensure(shared)
    embedded.stop(shared)
    version = shared / "data" / "PG_VERSION"
    before = version.read_text()
    version.write_text("17\n")
    try:
        with pytest.raises(Unsupported, match=r"PostgreSQL 17.* and 18"):
            embedded.ensure(shared)
    finally:
        version.write_text(before)


def test_a_directory_that_cannot_be_made_is_named() -> None:
    """The error names the directory and the settings that lead elsewhere."""
    with pytest.raises(Unsupported, match=r"perdure.*PERDURE_HOME.*DATABASE_URL"):
        embedded.ensure(Path(os.devnull) / "perdure")


def test_a_path_too_long_for_a_socket_still_works(home: Path) -> None:
    """A Unix socket's path is bounded by the system; the server then has its socket elsewhere, closed to others."""
    deep = home / ("d" * 60) / ("e" * 60)
    try:
        with psycopg.connect(embedded.ensure(deep, say=lambda line: None)) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
        _, cluster = lodging.lodge(deep, lambda line: None)
        assert cluster.sockets.stat().st_mode & 0o077 == 0
    finally:
        embedded.stop(deep)
        shutil.rmtree(cluster.sockets)


def test_without_any_url_the_embedded_server_is_used(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No argument and no $DATABASE_URL means the server in $PERDURE_HOME."""
    monkeypatch.setenv("PERDURE_HOME", str(shared))

    assert resolve(environ={}) == embedded.ensure(shared)


@as_root
def test_root_lends_the_server_to_another_user(shared: Path) -> None:
    """Postgres doesn't run as root: data and processes belong to the stand-in, and root connects all the same."""
    embedded.ensure(shared)

    assert (shared / "data").stat().st_uid == lodging.server_owner().uid != 0
    assert Path(f"/proc/{_pid(shared)}").stat().st_uid == (shared / "data").stat().st_uid


@as_root
def test_an_unprivileged_user_has_a_server_of_its_own(home: Path) -> None:
    """A user without any right starts and finds the server in a directory of its own; root finds it, too."""
    user = nobody()
    home.mkdir()
    os.chown(home, user.uid, user.gid)
    first, second = _as_nobody(home), _as_nobody(home)

    assert first.returncode == 0, first.stderr
    assert "making an embedded" in first.stderr
    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert (home / "data").stat().st_uid == user.uid
    assert embedded.ensure(home) == first.stdout.strip()


@as_root
def test_the_server_of_somebody_else_is_refused(shared: Path) -> None:
    """A user who may not enter the data is told whose it is, at once."""
    embedded.ensure(shared)
    refused = _as_nobody(shared)

    assert refused.returncode != 0
    assert "Unsupported" in refused.stderr
    assert "PERDURE_HOME" in refused.stderr


@as_root
def test_root_opens_no_closed_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stand-in can't reach the home or the wheel, both are kept elsewhere; no permission is widened."""
    closed, fallback = home / "closed", home / "fallback"
    home.mkdir()
    closed.mkdir(mode=0o700)
    package = lodging._wheel()
    for part in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / part, closed / part, symlinks=True)
    monkeypatch.setattr(lodging, "_wheel", lambda: closed / package.name)
    monkeypatch.setattr(lodging, "FALLBACK", fallback)
    said: list[str] = []
    try:
        with psycopg.connect(embedded.ensure(closed / "home", say=said.append)) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
        assert embedded.status(closed / "home").running
    finally:
        embedded.stop(closed / "home")

    assert closed.stat().st_mode & 0o777 == 0o700
    assert str(closed / "home") in said[0]
    assert str(fallback) in said[0]
    assert not (closed / "home" / "data").exists()
