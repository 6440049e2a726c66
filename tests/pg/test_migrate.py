"""Migrations: in order, each whole or not at all, one run at a time, and patient with a locked table."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure.core.errors import (
    InvalidOption,
    LockTimeout,
    MigrationChanged,
    SchemaAhead,
    SchemaBehind,
    StatementRefused,
    StatementTimeout,
)
from perdure.pg.migrate import RESERVED, check, checked_schema, load, migrate, plan
from tests.conftest import Database

FIRST = "create table perdure.shop (id int primary key);"
SECOND = "alter table perdure.shop add column name text; insert into perdure.shop values (1, 'a %% b');"
THIRD = "alter table perdure.shop drop column name;"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three migrations: two that expand, one that contracts."""
    (tmp_path / "0001_pre_shop.sql").write_text(FIRST)
    (tmp_path / "0002_pre_name.sql").write_text(SECOND)
    (tmp_path / "0003_post_name.sql").write_text(THIRD)
    (tmp_path / "README.md").write_text("not a migration")
    return tmp_path


def _titles(migrations: tuple[Any, ...]) -> list[str]:
    return [migration.title for migration in migrations]


def _tables(conn: psycopg.Connection[Any], schema: str = "perdure") -> set[str]:
    return {
        name
        for (name,) in conn.execute(
            "select table_name from information_schema.tables where table_schema = %s", [schema]
        )
    }


def test_an_empty_database_gets_everything_once(empty_db: Database, files: Path) -> None:
    """All files run in the order of their numbers; a second run finds nothing to do [DW-153]."""
    conn, said = empty_db.connect(), list[str]()

    assert _titles(migrate(conn, directory=files, say=said.append)) == [
        "0001_pre_shop",
        "0002_pre_name",
        "0003_post_name",
    ]
    assert [line.split()[1] for line in said] == ["0001_pre_shop", "0002_pre_name", "0003_post_name"]
    assert migrate(conn, directory=files) == ()
    assert conn.execute("select * from perdure.shop").fetchall() == [(1,)]


def test_the_products_own_migrations_apply_and_check(empty_db: Database) -> None:
    """The shipped migrations take an empty database to a schema that this code accepts [DW-153, DW-154]."""
    conn = empty_db.connect()
    with pytest.raises(SchemaBehind, match="0001"):
        check(conn)
    assert migrate(conn) == load()
    check(conn)


def test_a_plan_lists_what_would_run_and_writes_nothing(empty_db: Database, files: Path) -> None:
    """The plan is the pending files, with and without the contracting ones; the database stays as it was."""
    conn = empty_db.connect()

    assert _titles(plan(conn, directory=files)) == ["0001_pre_shop", "0002_pre_name", "0003_post_name"]
    assert _titles(plan(conn, directory=files, pre_only=True)) == ["0001_pre_shop", "0002_pre_name"]
    assert _tables(conn) == set()


def test_expanding_stops_before_the_first_contraction(empty_db: Database, files: Path) -> None:
    """``pre_only`` passes no ``post``, because a later ``pre`` may rely on it."""
    (files / "0004_pre_more.sql").write_text("create table perdure.more ();")
    conn = empty_db.connect()

    assert _titles(migrate(conn, directory=files, pre_only=True)) == ["0001_pre_shop", "0002_pre_name"]
    assert migrate(conn, directory=files, pre_only=True) == ()
    assert _titles(migrate(conn, directory=files)) == ["0003_post_name", "0004_pre_more"]


def test_a_failed_file_leaves_nothing_and_the_next_run_goes_on_from_it(empty_db: Database, files: Path) -> None:
    """The files before the failed one stay, of the failed one nothing stays, and when it is mended the rest runs."""
    (files / "0002_pre_name.sql").write_text("create table perdure.half (); select 1 / 0;")
    conn = empty_db.connect()
    with pytest.raises(StatementRefused, match=r"0002_pre_name.*division by zero") as caught:
        migrate(conn, directory=files)

    assert caught.value.fix
    assert _tables(conn) == {"migration", "shop"}
    (files / "0002_pre_name.sql").write_text(SECOND)
    assert _titles(migrate(conn, directory=files)) == ["0002_pre_name", "0003_post_name"]


def test_a_run_that_is_killed_is_resumed(empty_db: Database, files: Path) -> None:
    """A session that dies inside a file lets go of the lock and leaves nothing; another run does the whole file."""
    (files / "0002_pre_name.sql").write_text(
        "create table perdure.half (); select pg_terminate_backend(pg_backend_pid());"
    )
    with pytest.raises(Exception, match="0002_pre_name"):
        migrate(empty_db.connect(), directory=files)
    (files / "0002_pre_name.sql").write_text(SECOND)
    conn = empty_db.connect()

    assert "half" not in _tables(conn)
    assert _titles(migrate(conn, directory=files)) == ["0002_pre_name", "0003_post_name"]


def test_two_runs_at_once_apply_each_file_once(empty_db: Database, files: Path) -> None:
    """The second run waits for the first, says so, and finds nothing left to do."""
    holder, second, said = empty_db.connect(), empty_db.connect(), list[str]()
    inside, go_on, done = threading.Event(), threading.Event(), list[tuple[Any, ...]]()

    def first_say(line: str) -> None:
        inside.set()
        go_on.wait(30)

    def second_say(line: str) -> None:
        said.append(line)
        go_on.set()

    first = threading.Thread(target=lambda: done.append(migrate(holder, directory=files, say=first_say)))
    first.start()
    assert inside.wait(30)
    assert migrate(second, directory=files, say=second_say) == ()
    first.join(30)

    assert len(done[0]) == 3
    assert "another migration" in said[0]


def test_the_wait_for_another_run_is_bounded(empty_db: Database, files: Path) -> None:
    """A run that doesn't end is reported; nothing is applied beside it. Schemas don't wait for each other."""
    conn, other = empty_db.connect(), empty_db.connect()
    tried = list[BaseException]()

    def beside(line: str) -> None:
        if not tried:
            with pytest.raises(LockTimeout) as caught:
                migrate(other, directory=files, turn_seconds=0.0)
            tried.append(caught.value)
            assert len(migrate(other, directory=files, schema="elsewhere")) == 3

    migrate(conn, directory=files, say=beside)

    assert len(tried) == 1


def test_a_changed_file_is_refused(empty_db: Database, files: Path) -> None:
    """An applied migration that reads differently stops the plan and the run; other line endings are no change."""
    conn = empty_db.connect()
    migrate(conn, directory=files)
    (files / "0001_pre_shop.sql").write_bytes(FIRST.replace("\n", "\r\n").encode())
    assert plan(conn, directory=files) == ()
    (files / "0001_pre_shop.sql").write_text(FIRST + "\n-- later")
    for act in (plan, migrate):
        with pytest.raises(MigrationChanged, match="0001_pre_shop"):
            act(conn, directory=files)


def test_a_schema_behind_the_code_is_named(empty_db: Database, files: Path) -> None:
    """A missing ``pre`` stops the code, with the number and the command; a missing ``post`` doesn't."""
    conn = empty_db.connect()
    (files / "0002_pre_name.sql").rename(files / "0002_pre_name.later")
    (files / "0003_post_name.sql").rename(files / "0003_post_name.later")
    migrate(conn, directory=files)
    (files / "0002_pre_name.later").rename(files / "0002_pre_name.sql")
    with pytest.raises(SchemaBehind, match=r"0002_pre_name.*run `perdure migrate"):
        check(conn, directory=files)
    migrate(conn, directory=files)
    (files / "0003_post_name.later").rename(files / "0003_post_name.sql")
    check(conn, directory=files)


def test_a_schema_ahead_of_the_code_is_named(empty_db: Database, files: Path) -> None:
    """A ``post`` that the code doesn't know stops it, migrations included; an unknown ``pre`` was made not to."""
    conn = empty_db.connect()
    migrate(conn, directory=files)
    (files / "0003_post_name.sql").unlink()
    for act in (check, plan, migrate):
        with pytest.raises(SchemaAhead, match="0003_post_name"):
            act(conn, directory=files)
    conn.execute("update perdure.migration set phase = 'pre' where number = 3")
    check(conn, directory=files)


def test_a_locked_table_is_tried_again_until_it_is_free(empty_db: Database, files: Path) -> None:
    """A migration whose table is locked lets go after ``lock_timeout``, says so, and succeeds when the lock is gone."""
    conn, holder, said = empty_db.connect(), empty_db.connect(), list[str]()
    (files / "0003_post_name.sql").unlink()
    migrate(conn, directory=files)
    (files / "0003_post_name.sql").write_text(THIRD)
    holder.execute("begin")
    holder.execute("lock table perdure.shop in access share mode")

    def free(line: str) -> None:
        said.append(line)
        holder.execute("commit")

    assert len(migrate(conn, directory=files, say=free, lock_seconds=0.05)) == 1
    assert "waits for a lock" in said[0]


def test_a_table_that_stays_locked_is_given_up(empty_db: Database, files: Path) -> None:
    """After so many attempts the run ends with the migration's name; nothing of it was kept, and the lock is free."""
    conn, holder = empty_db.connect(), empty_db.connect()
    (files / "0003_post_name.sql").unlink()
    migrate(conn, directory=files)
    (files / "0003_post_name.sql").write_text(THIRD)
    holder.execute("begin")
    holder.execute("lock table perdure.shop in access share mode")
    with pytest.raises(LockTimeout, match=r"0003_post_name.*locked 2 times"):
        migrate(conn, directory=files, lock_seconds=0.05, attempts=2)
    holder.execute("commit")

    assert len(migrate(holder, directory=files)) == 1


def test_another_schema_gets_the_same_tables(empty_db: Database) -> None:
    """The product's migrations make the same tables under any schema's name, and touch no other schema."""
    conn = empty_db.connect()
    migrate(conn, schema="orders")
    check(conn, schema="orders")

    assert _tables(conn) == set()
    assert {"migration", "job", "ready"} <= _tables(conn, "orders")


@pytest.mark.parametrize("schema", ["", "Perdure", "pg_own", "a-b", 'x"; drop table y; --', "9lives", "x" * 64])
def test_a_schemas_name_is_checked(empty_db: Database, schema: str) -> None:
    """A name that isn't a plain identifier never reaches a statement."""
    for act in (check, plan, migrate):
        with pytest.raises(InvalidOption, match="schema"):
            act(empty_db.connect(), schema=schema)


def test_files_must_be_named_and_numbered(tmp_path: Path) -> None:
    """A file that isn't named like a migration, and a number that stands twice, are refused by name."""
    (tmp_path / "0001_pre_a.sql").write_text("")
    (tmp_path / "0001_post_b.sql").write_text("")
    with pytest.raises(InvalidOption, match="number of"):
        load(tmp_path)
    (tmp_path / "0001_post_b.sql").rename(tmp_path / "2_b.sql")
    with pytest.raises(InvalidOption, match="2_b"):
        load(tmp_path)


def test_a_connection_in_a_transaction_is_refused(empty_db: Database) -> None:
    """Each file must be a transaction of its own, so the connection commits by itself."""
    conn = empty_db.connect()
    conn.autocommit = False
    with pytest.raises(InvalidOption, match="autocommit"):
        migrate(conn)


def test_no_word_of_sql_becomes_a_schema(empty_db: Database) -> None:
    """Every word that this server reserves is refused as a schema's name before anything is sent, and a word it doesn't
    reserve is taken. Red when the list of words lacks one."""
    words = dict(empty_db.connect().execute("select word, catcode in ('R', 'T') from pg_get_keywords()").fetchall())

    assert {word for word, reserved in words.items() if reserved} <= RESERVED
    with pytest.raises(InvalidOption, match="schema: 'order' is a word of SQL"):
        migrate(empty_db.connect(), schema="order")
    assert [checked_schema(word) for word in ("jobs", "data", "public")] == ["jobs", "data", "public"]


def test_who_stands_in_the_way_of_a_migration_is_named(empty_db: Database, files: Path) -> None:
    """A reader that sits in a transaction holds the table: the run gives up and names its pid, seen by a second
    session while the first one waited; others are held up no longer than the lock time-out [OPS-25]. Red without the
    lookout."""
    conn, reader, said = empty_db.connect(application_name="migration"), empty_db.connect(), list[str]()
    migrate(conn, directory=files, pre_only=True)
    reader.execute("set application_name = 'a report'")
    reader.execute("begin")
    reader.execute("select * from perdure.shop")
    with pytest.raises(LockTimeout, match=rf"pid {reader.info.backend_pid} \(a report, idle in transaction"):
        migrate(conn, directory=files, lock_seconds=3.0, attempts=2, say=said.append)

    assert f"pid {reader.info.backend_pid}" in said[0]
    assert conn.execute("select count(*) from perdure.shop").fetchone() == (1,)


def test_a_run_ends_when_its_time_is_up(empty_db: Database, files: Path) -> None:
    """The lock time-out is one for each lock, so a run has a bound for all of it: what it does then is cancelled, and
    nothing of that file is kept [OPS-25]. Red when only each wait is bounded."""
    (files / "0003_post_name.sql").write_text("create table perdure.slow (id int); select pg_sleep(600);")
    conn = empty_db.connect()
    migrate(conn, directory=files, pre_only=True)
    with pytest.raises(StatementTimeout, match=r"0003_post_name.*as long as they may"):
        migrate(conn, directory=files, turn_seconds=0.0, seconds=0.5)

    assert _tables(conn) == {"migration", "shop"}
    assert _titles(plan(conn, directory=files)) == ["0003_post_name"]
