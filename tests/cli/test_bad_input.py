"""Whatever is wrong with what the program is given is one line that names the field, the problem and the fix, and 2."""

from __future__ import annotations

import shlex
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.cli.database import opened
from perdure.cli.program import run
from perdure.core.errors import ServerUnavailable
from tests import servers
from tests.cli.terminal import perdure, refusal, running
from tests.conftest import Database, NewServer

pytestmark = pytest.mark.newest

SECRET = "s3cret"
AHEAD = "insert into perdure.migration (number, phase, name, checksum) values (9999, 'post', 'later', 'x')"


@pytest.fixture(scope="module")
def locked(new_server: NewServer) -> Iterator[servers.Server]:
    """A server that wants a password from everybody but its superuser."""
    with new_server() as server:
        (server.cluster.data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        server.restart()
        yield server


@pytest.mark.parametrize(
    ("url", "field", "problem", "fix"),
    [
        ("mysql://shop/shop", "url", "doesn't begin with postgresql://", "give postgresql://"),
        ("postgresql://shop:p@ss@db/shop", "url", "holds characters that end a part", "%40"),
        ("postgresql://db:port/shop", "url", "its port isn't a number", "give postgresql://"),
        ("postgresql://db/shop?sslmood=x", "url", "knows no option 'sslmood'", "take it out"),
        ("postgresql://shop@db.invalid/shop", "host", "has no address", "correct the host"),
    ],
)
def test_a_url_that_cannot_work(url: str, field: str, problem: str, fix: str) -> None:
    """A malformed URL and an unknown host are refused before anything else happens."""
    line = refusal(perdure("status", "--url", url))

    assert line.startswith(f"error: {field}: ")
    assert problem in line
    assert fix in line


def test_a_malformed_variable_is_named_as_the_variable() -> None:
    """A DATABASE_URL that can't be read is called by that name, and its password isn't repeated."""
    line = refusal(perdure("status", url=f"postgresql://shop:{SECRET}#@db/shop"))

    assert line.startswith("error: DATABASE_URL: ")
    assert SECRET not in line


@pytest.mark.parametrize("command", [["status"], ["migrate"], ["worker", "shop:app"], ["dev", "shop:app"]])
def test_a_refused_login(command: list[str], locked: servers.Server, home: Path) -> None:
    """A login that the server refuses names the user, at once: nothing is waited for, no worker is started."""
    url = locked.url.replace("postgres@", f"nobody_we_know:{SECRET}@", 1)
    line = refusal(perdure(*command, url=url, cwd=home))

    assert "user: the server refused 'nobody_we_know'" in line
    assert "correct user and password" in line
    assert SECRET not in line


@pytest.mark.parametrize("command", [["status"], ["migrate"], ["worker", "shop:app"]])
def test_a_missing_database(command: list[str], server: servers.Server, home: Path) -> None:
    """A database that isn't there is named, with the command that makes it."""
    line = refusal(perdure(*command, url=server.cluster.url("nowhere"), cwd=home))

    assert "database: 'nowhere' isn't on the server" in line
    assert "createdb nowhere" in line


def test_a_server_that_does_not_answer_is_waited_for(new_server: NewServer, home: Path) -> None:
    """A command and a worker wait for a server that is down, say so, and go on when it answers."""
    with new_server() as server:
        server.cluster.stop()
        at_work = running("worker", "shop:app", url=server.url, cwd=home)
        with running("migrate", url=server.url) as migrating, at_work as working:
            migrating.hear("perdure: waiting for Postgres at postgresql://")
            working.hear("perdure: waiting for Postgres at postgresql://")
            server.cluster.start()

            assert migrating.ended() == 0
            migrating.hear("Postgres answers")
            working.hear("Postgres answers")


def test_a_server_that_never_answers_is_given_up() -> None:
    """A command that only looks gives up after a while, with 1 and not with 2: the same may work later."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"postgresql://shop@127.0.0.1:{unheard.getsockname()[1]}/shop"
        with pytest.raises(ServerUnavailable) as caught, opened(url, "perdure", wait=0.2):
            pass

    assert caught.value.exit_code == 1


def test_an_embedded_server_that_cannot_be_made() -> None:
    """Without a URL, where no embedded Postgres can be made either, the directory is named and what to set instead."""
    line = refusal(perdure("status"))

    assert line.startswith("error: /dev/null/perdure: can't be made")
    assert "give a DATABASE_URL" in line


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def _greet(listening: socket.socket) -> None:
    """Let a client in, as a PostgreSQL 14 would; what it sends afterwards isn't answered."""
    greeting = _message(b"R", bytes(4)) + _message(b"S", b"server_version\x0014.18\0") + _message(b"Z", b"I")
    conn, _ = listening.accept()
    with conn:
        length = int.from_bytes(conn.recv(4), "big")
        if int.from_bytes(conn.recv(length - 4)[:4], "big") in (80877103, 80877104):  # may it be encrypted? It may not
            conn.sendall(b"N")
            conn.recv(65_536)
        conn.sendall(greeting)
        conn.recv(65_536)


def test_a_server_that_is_too_old() -> None:
    """A PostgreSQL 14 is refused by its own greeting, with both versions."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_greet, args=(listening,), daemon=True).start()
        url = f"postgresql://shop@127.0.0.1:{listening.getsockname()[1]}/shop?sslmode=disable&gssencmode=disable"
        line = refusal(perdure("status", "--url", url))

    assert "server: is PostgreSQL 14, and Perdure needs 15 or newer; upgrade it" in line


@pytest.mark.parametrize(
    "command",
    [["status"], ["jobs"], ["queues"], ["workers"], ["worker", "shop:app"], ["worker", "shop:app", "--processes", "2"]],
    ids=" ".join,
)
def test_a_schema_that_is_behind(command: list[str], empty_db: Database, home: Path) -> None:
    """A database without the tables names the migrations it lacks and the command that applies them."""
    line = refusal(perdure(*command, url=empty_db.url, cwd=home))

    assert "schema perdure: is behind this version of Perdure: it lacks 0001" in line
    assert "run `perdure migrate`" in line


@pytest.mark.parametrize(
    "command", [["status"], ["worker", "shop:app"], ["migrate"], ["dev", "shop:app"]], ids=" ".join
)
def test_a_schema_that_is_ahead(command: list[str], db: Database, home: Path) -> None:
    """A database that a later version has contracted is refused, naming what isn't known here."""
    db.connect().execute(AHEAD)
    line = refusal(perdure(*command, url=db.url, cwd=home))

    assert "is ahead of this version of Perdure" in line
    assert "9999_post_later" in line
    assert "install the version" in line


@pytest.mark.parametrize(
    ("app", "problem", "fix"),
    [
        ("shop", "is not of the form module:app", "write it as"),
        ("nowhere:app", "there is no module 'nowhere'", "run in the directory that holds it"),
        ("broken:app", "importing broken raised SyntaxError", "make `import broken` work"),
        ("lacking:app", "lacking imports 'no_such_library', which isn't installed", "install no_such_library"),
        ("shop:shop", "shop has no 'shop'", "use shop:app"),
        ("shop:SHOP", "is of type str, not an App", "use shop:app"),
    ],
)
def test_an_app_that_cannot_be_imported(app: str, problem: str, fix: str, home: Path) -> None:
    """What names no app says which module failed, why, and what to do; no database is asked before."""
    (home / "broken.py").write_text("app = \n")
    (home / "lacking.py").write_text("import no_such_library\n")
    with (home / "shop.py").open("a") as shop:
        shop.write('SHOP = "a text"\n')
    line = refusal(perdure("worker", app, cwd=home))

    assert line.startswith("error: app: ")
    assert problem in line
    assert fix in line


def test_a_developer_is_told_of_an_app_that_cannot_be_imported(db: Database, home: Path) -> None:
    """``perdure dev`` ends with the same line when there is no such module to begin with."""
    assert "there is no module 'nowhere'" in refusal(perdure("dev", "nowhere:app", url=db.url, cwd=home))


@pytest.mark.parametrize(
    ("option", "value", "fix"),
    [
        ("--queues", "mail:0", "write it as mail:10,default:50"),
        ("--queues", "mail,mail", "name each queue once"),
        ("--queues", "e mail", "use letters, digits"),
        ("--drain-timeout", "inf", "give a number"),
        ("--drain-timeout", "nan", "--help"),
        ("--processes", "0", "--help"),
    ],
)
def test_an_option_of_a_worker_that_is_not_allowed(option: str, value: str, fix: str, home: Path) -> None:
    """A worker doesn't start with a bad option, and names it and what may be given."""
    line = refusal(perdure("worker", "shop:app", option, value, cwd=home))

    assert option in line
    assert fix in line


@pytest.mark.parametrize(
    ("arguments", "field", "fix"),
    [
        ("status --schema Shop;", "schema", "give lower-case letters"),
        ("migrate --schema pg_shop", "schema", "give lower-case letters"),
        ("schema --schema Shop", "schema", "give lower-case letters"),
        ("migrate --phase later", "--phase", "--help"),
        ("jobs --place nowhere", "place", "give one of ready"),
        ("jobs --limit 0", "--limit", "--help"),
        ("jobs --cursor 0", "cursor", "give the id"),
        ("jobs get 0", "id", "give the id"),
        ("jobs wait 1 --timeout nan", "--timeout", "--help"),
        ("queues pause nowhere", "queue", "there is none yet"),
        ("demo --input nowhere.ndjson", "--input", "--help"),
        ("demo --url nowhere", "url", "give postgresql://"),
        ("enqueue work --tag ''", "--tag:", "at least one"),
        (
            "enqueue work --delay 1 --run-at 2026-01-01T00:00Z",
            "--delay: is given together with --run-at",
            "one of them",
        ),
    ],
)
def test_an_option_that_is_not_allowed(
    arguments: str, field: str, fix: str, db: Database, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """An option's bad value is one line that names the option and what may be given, and exit code 2."""
    monkeypatch.setenv("DATABASE_URL", db.url)
    code = run(shlex.split(arguments))
    said = capsys.readouterr()

    assert (code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert field in line
    assert fix in line
