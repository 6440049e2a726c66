"""``perdure dev``: everything for a developer's day in one process tree."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg

from perdure.cli.watch import difference, snapshot
from perdure.pg import embedded
from tests.cli.terminal import SHOP, alive, answer, children, postgres_home, running, until
from tests.conftest import Database


def _rewrite(file: Path, text: str) -> None:
    """As an editor does: another file in its place, never a half one."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def test_a_change_starts_the_new_code(empty_db: Database, home: Path) -> None:
    """The tables are made, a worker runs; after a change the new code runs; code that can't be imported is shown, and
    the next change tried again; Ctrl-C ends all of it with 0.
    """
    with running("dev", "shop:app", url=empty_db.url, cwd=home) as dev:
        dev.hear("works on")
        answer("enqueue", "send_receipt", "order_id=1", "--queue", "mail", url=empty_db.url)
        assert answer("jobs", "wait", "1", "--timeout", "60", url=empty_db.url) == "receipt for order 1\n"

        _rewrite(home / "shop.py", SHOP.replace("receipt for", "a receipt for"))
        dev.hear("shop.py changed")
        dev.hear("works on", 2)
        answer("enqueue", "send_receipt", "order_id=2", "--queue", "mail", url=empty_db.url)
        assert answer("jobs", "wait", "2", "--timeout", "60", url=empty_db.url) == "a receipt for order 2\n"

        _rewrite(home / "shop.py", "app = \n")
        dev.hear("it starts again when a file changes")
        assert dev.process.poll() is None
        _rewrite(home / "shop.py", SHOP)
        dev.hear("works on", 3)
        workers = children(dev.pid)
        dev.process.send_signal(signal.SIGINT)
        assert dev.ended() == 0

    assert workers
    assert not any(map(alive, workers))


def test_a_postgres_of_its_own_is_ended_with_it(home: Path) -> None:
    """Without a URL the embedded Postgres is started, and stopped at the end."""
    with postgres_home() as postgres:
        with running("dev", "shop:app", cwd=home, PERDURE_HOME=str(postgres)) as dev:
            dev.hear("works on")
            assert embedded.status(postgres).running
            dev.process.send_signal(signal.SIGINT)
            assert dev.ended() == 0
            dev.hear("PostgreSQL is stopped")

        assert not embedded.status(postgres).running


def test_a_postgres_that_others_use_goes_on(home: Path) -> None:
    """A Postgres that was started for it and that somebody else is connected to by then isn't taken from him."""
    with postgres_home() as postgres, running("dev", "shop:app", cwd=home, PERDURE_HOME=str(postgres)) as dev:
        dev.hear("works on")
        with psycopg.connect(embedded.ensure(postgres)) as conn:
            dev.process.send_signal(signal.SIGINT)
            assert dev.ended() == 0
            dev.hear("PostgreSQL goes on: 1 other sessions use it")
            conn.execute("select 1")


def test_nothing_outlives_a_killed_dev(empty_db: Database, home: Path) -> None:
    """After kill -9 of the command its worker ends, too."""
    with running("dev", "shop:app", url=empty_db.url, cwd=home) as dev:
        dev.hear("works on")
        workers = children(dev.pid)
        assert workers
        dev.process.kill()
        until("the worker to end", lambda: not any(map(alive, workers)))


def test_a_look_finds_what_was_changed_added_and_removed(tmp_path: Path) -> None:
    """Sources are compared by time and size; environments, hidden directories and other files aren't looked at."""
    for name in ("a.py", "b.py", "c.txt", "venv/pyvenv.cfg", "venv/lib.py", ".git/hook.py", "pkg/sub/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    before = snapshot(tmp_path)
    assert sorted(os.path.relpath(path, tmp_path) for path in before) == ["a.py", "b.py", "pkg/sub/d.py"]

    (tmp_path / "a.py").write_text("12")
    (tmp_path / "b.py").unlink()
    (tmp_path / "pkg" / "e.py").write_text("1")
    (tmp_path / "c.txt").write_text("12")
    changed = difference(before, snapshot(tmp_path))
    assert [os.path.relpath(path, tmp_path) for path in changed] == ["a.py", "b.py", "pkg/e.py"]
