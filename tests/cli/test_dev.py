"""``perdure dev``: everything for a developer's day in one process tree."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psycopg
import pytest
from watchfiles import Change

from perdure.cli.dev import Reloader, sources
from perdure.core.errors import Unsupported
from perdure.pg import embedded
from tests.cli.terminal import (
    PATIENCE_SECONDS,
    SHOP,
    alive,
    answer,
    children,
    perdure,
    postgres_home,
    refusal,
    running,
    until,
)
from tests.conftest import Database

pytestmark = pytest.mark.newest


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


@pytest.mark.parametrize("polling", ["", "1"], ids=["notified", "polling"])
async def test_a_change_as_the_child_starts_is_not_missed(
    polling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is written when the watch stands and the child doesn't yet starts another child. Red when watching begins
    after the child's start.
    """
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", polling)

    class Hasty(Reloader):
        starts = 0

        async def _start(self) -> asyncio.subprocess.Process:
            self.starts += 1
            if self.starts == 1:
                (tmp_path / "late.py").write_text("late = True")
            else:
                signal.raise_signal(signal.SIGTERM)
            return await super()._start()

    hasty = Hasty(["--version"], {}, tmp_path)
    assert await asyncio.wait_for(hasty.run(), PATIENCE_SECONDS) == 0
    assert hasty.starts == 2
    assert "late.py changed" in capsys.readouterr().err


def test_only_edits_of_sources_count(tmp_path: Path) -> None:
    """Python, SQL and TOML files do, added, changed or removed; environments, caches, hidden and build directories
    don't, wherever the root itself lies.
    """
    root = tmp_path / ".hidden" / "build"
    (root / "env" / "lib").mkdir(parents=True)
    for directory in (root / "env", root):  # a project may lie in an environment's own directory
        (directory / "pyvenv.cfg").touch()
    names = [
        "a.py", "pkg/sub/b.pyi", "sql/c.sql", "pyproject.toml", "d.txt", "a.py.new", "env/lib/e.py", ".git/hook.py",
        ".#a.py", "__pycache__/a.py", "lib/site-packages/f.py", "build/lib/g.py", "dist/h.py", "node_modules/i.py",
    ]  # fmt: skip
    is_source = sources(root)

    for change in Change:
        assert [name for name in names if is_source(change, str(root / name))] == names[:4]


async def test_what_cannot_be_watched_is_said_before_anything_starts(tmp_path: Path) -> None:
    """Where the system refuses the watch, the error says so, and how to do without notifications."""
    with pytest.raises(Unsupported, match=r"changes can't be noticed here: .*WATCHFILES_FORCE_POLLING"):
        await asyncio.wait_for(Reloader(["--version"], {}, tmp_path / "gone").run(), PATIENCE_SECONDS)


def test_without_the_extra_it_says_which_to_install(home: Path) -> None:
    """Where watchfiles isn't installed the command ends with 2 and the extra's name, without asking any server."""
    (home / "watchfiles.py").write_text("raise ModuleNotFoundError(name='watchfiles')")  # the first one on the path
    told = refusal(perdure("dev", "shop:app", url="postgresql://127.0.0.1:1/shop", cwd=home))

    assert "run `pip install 'perdure[reload]'`" in told
