"""Migrations: plain SQL files, ``NNNN_pre_name.sql`` or ``NNNN_post_name.sql``, applied in the order of their numbers.

``pre`` expands: the code that is running goes on working, and the new code needs it. ``post`` contracts: it waits until
no old code runs. So an upgrade without a stop is ``migrate(pre_only=True)``, deploy, ``migrate()``; and code runs on a
schema that lacks only ``post`` migrations, or has ``pre`` ones it doesn't know.

Each file is one transaction that also notes itself in the table ``migration``, so a run that is broken off is simply
run again. A session-level advisory lock, one per schema, keeps two runs apart; behind a transaction pooler give the
address of the server itself.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.abc import Traversable
from importlib.resources import files
from itertools import takewhile
from typing import Any, Literal, TypeAlias

import psycopg

from ..core.errors import (
    DatabaseError,
    InvalidOption,
    LockTimeout,
    MigrationChanged,
    SchemaAhead,
    SchemaBehind,
    StatementTimeout,
    TransientError,
)
from ..core.op import Row, one, rows
from ..sql import in_schema, statement
from .drive import drive
from .errors import translate
from .lookout import looking_out

Phase: TypeAlias = Literal["pre", "post"]
Say: TypeAlias = Callable[[str], None]

LOCK_SECONDS = 2.0
"""How long a migration waits for a table's lock; everybody who wants the table meanwhile waits behind it."""

LOCK_ATTEMPTS_MAX = 10
SECONDS_MAX = 3_600.0
"""How long all files of one run may take together, waits for locks included."""

TURN_SECONDS_MAX = 120.0
"""How long one run waits for another one to end."""

_FILE = re.compile(r"(\d{4})_(pre|post)_([a-z0-9_]+)\.sql")
_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_WORDS = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
concurrently constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze from
full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
returning right select session_user similar some symmetric system_user table tablesample then to trailing true union
unique user using variadic verbose when where window with
"""
RESERVED = frozenset(_WORDS.split())
"""What no supported version of Postgres takes as a schema's name without quotes."""

_BUSY = ("55P03", "40P01")  # the lock wasn't granted in time, or the wait for it was a deadlock
_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS_MAX = 2.0


def _as_it_is(row: Row) -> Row:
    return row


EXISTS = statement("migration.exists", lambda row: bool(row["found"]))
LIST = statement("migration.list", _as_it_is)
CREATE_SCHEMA = statement("migration.create_schema", _as_it_is)
CREATE_TABLE = statement("migration.create_table", _as_it_is)
LOCK = statement("migration.lock", lambda row: bool(row["taken"]))
UNLOCK = statement("migration.unlock", _as_it_is)
LIMIT = statement("migration.limit", _as_it_is)
RECORD = statement("migration.record", _as_it_is)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its phase, its name, and its text with the schema still called ``perdure``."""

    number: int
    phase: Phase
    name: str
    text: str

    @property
    def title(self) -> str:
        """The file's name without its ending, as people speak of it."""
        return f"{self.number:04}_{self.phase}_{self.name}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, whatever a checkout did to its line endings."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()


def load(directory: Traversable | None = None) -> tuple[Migration, ...]:
    """The migrations of this version, or those in ``directory``, by number.

    Raises ``InvalidOption`` for a file that isn't named like a migration, and for a number that stands twice.
    """
    found: dict[int, Migration] = {}
    for path in (directory or files("perdure.sql").joinpath("migrations")).iterdir():
        if not path.name.endswith(".sql"):
            continue
        named = _FILE.fullmatch(path.name)
        if named is None:
            raise InvalidOption("not a migration's name", field=path.name, fix="name it NNNN_pre_… or NNNN_post_….sql")
        phase: Phase = "pre" if named[2] == "pre" else "post"
        migration = Migration(int(named[1]), phase, named[3], path.read_text(encoding="utf-8"))
        if migration.number in found:
            other = found[migration.number].title
            raise InvalidOption(f"has the number of {other}", field=path.name, fix="give it the next free number")
        found[migration.number] = migration
    return tuple(found[number] for number in sorted(found))


def plan(
    conn: psycopg.Connection[Any],
    *,
    schema: str = "perdure",
    directory: Traversable | None = None,
    pre_only: bool = False,
) -> tuple[Migration, ...]:
    """What ``migrate`` would apply, in order; nothing is written.

    With ``pre_only`` the list ends before the first ``post``, because a later file may rely on it. Raises
    ``MigrationChanged`` when an applied file reads differently now, ``SchemaAhead`` as ``check`` does.
    """
    return _pending(load(directory), _applied(conn, schema), pre_only)


def migrate(
    conn: psycopg.Connection[Any],
    *,
    schema: str = "perdure",
    directory: Traversable | None = None,
    pre_only: bool = False,
    say: Say = lambda line: None,
    lock_seconds: float = LOCK_SECONDS,
    attempts: int = LOCK_ATTEMPTS_MAX,
    turn_seconds: float = TURN_SECONDS_MAX,
    seconds: float = SECONDS_MAX,
) -> tuple[Migration, ...]:
    """Apply what is pending and return it. ``conn`` is in autocommit mode; ``say`` gets a line per migration.

    A table's lock is awaited ``lock_seconds`` at a time, ``attempts`` times; all files together may take ``seconds``,
    since the first bound is one for each lock. Raises ``LockTimeout``, which names who was in the way, when that wasn't
    enough, or another run didn't end within ``turn_seconds``; ``StatementTimeout`` when the time was up;
    ``StatementRefused`` with Postgres's words when a migration fails. What was applied before stays applied, the failed
    file leaves nothing.
    """
    if not conn.autocommit:
        raise InvalidOption("is in a transaction's mode", field="conn", fix="connect with autocommit=True")
    checked_schema(schema)
    known, deadline = load(directory), time.monotonic() + turn_seconds + seconds
    with _turn(conn, schema, turn_seconds, say):
        if not drive(conn, one(EXISTS), schema):
            with _named(f"schema {schema}"):
                drive(conn, rows(CREATE_SCHEMA), schema)
                drive(conn, rows(CREATE_TABLE), schema)
        pending = _pending(known, _applied(conn, schema), pre_only)
        for migration in pending:
            began = time.monotonic()
            _apply_patiently(conn, migration, schema, lock_seconds, attempts, deadline, say)
            say(f"applied {migration.title} in {time.monotonic() - began:.2f} s")
    return pending


def check(conn: psycopg.Connection[Any], *, schema: str = "perdure", directory: Traversable | None = None) -> None:
    """Return when this code can work on the schema.

    Raises ``SchemaBehind`` when it lacks a ``pre`` migration, ``SchemaAhead`` when it has a ``post`` one that this
    code doesn't know.
    """
    known, applied = load(directory), _applied(conn, schema)
    _refuse_ahead(known, applied)
    done = {row["number"] for row in applied}
    missing = [migration.title for migration in known if migration.phase == "pre" and migration.number not in done]
    if missing:
        raise SchemaBehind(
            f"is behind this version of Perdure: it lacks {_several(missing)}",
            field=f"schema {schema}",
            fix="run `perdure migrate`" if schema == "perdure" else f"run `perdure migrate --schema {schema}`",
        )


def checked_schema(schema: str) -> str:
    """The name, when it can be a schema's. Raises ``InvalidOption``: it is put into SQL as it is."""
    if not isinstance(schema, str) or _SCHEMA.fullmatch(schema) is None:
        raise InvalidOption(
            f"{schema!r} can't be a schema's name",
            field="schema",
            fix="give lower-case letters, digits and _, at most 63, the first one no digit, without pg_ in front",
        )
    if schema in RESERVED:
        raise InvalidOption(f"{schema!r} is a word of SQL", field="schema", fix="add a _ or another word to it")
    return schema


def _pending(known: Sequence[Migration], applied: Sequence[Row], pre_only: bool) -> tuple[Migration, ...]:
    _refuse_ahead(known, applied)
    then = {row["number"]: row["checksum"] for row in applied}
    for migration in known:
        if then.get(migration.number, migration.checksum) != migration.checksum:
            raise MigrationChanged(
                "was applied to this database, and reads differently now",
                field=f"migration {migration.title}",
                fix="restore the file and put the change into a new migration",
            )
    pending = [migration for migration in known if migration.number not in then]
    return tuple(takewhile(lambda migration: migration.phase == "pre", pending) if pre_only else pending)


def _refuse_ahead(known: Sequence[Migration], applied: Sequence[Row]) -> None:
    numbers = {migration.number for migration in known}
    unknown = [
        f"{row['number']:04}_post_{row['name']}"
        for row in applied
        if row["phase"] == "post" and row["number"] not in numbers
    ]
    if unknown:
        raise SchemaAhead(
            f"is ahead of this version of Perdure ({max(numbers, default=0):04}): it has {_several(unknown)}",
            field="schema",
            fix="install the version of Perdure that the database was migrated with, or a later one",
        )


def _several(titles: Sequence[str]) -> str:
    return ", ".join(titles) if len(titles) <= 3 else f"{titles[0]} … {titles[-1]} ({len(titles)} migrations)"


def _applied(conn: psycopg.Connection[Any], schema: str) -> list[Row]:
    checked_schema(schema)
    return drive(conn, rows(LIST), schema) if drive(conn, one(EXISTS), schema) else []


@contextmanager
def _turn(conn: psycopg.Connection[Any], schema: str, seconds: float, say: Say) -> Iterator[None]:
    """Hold the schema's migration lock. Its key is made from the schema's name, so that schemas don't wait in line."""
    key = int.from_bytes(hashlib.sha256(b"perdure.migration " + schema.encode()).digest()[:8], "big", signed=True)
    deadline, told = time.monotonic() + seconds, False
    while not drive(conn, one(LOCK, key=key)):
        if not told:
            say("another migration of this schema is running; waiting for it")
            told = True
        if time.monotonic() >= deadline:
            raise LockTimeout(
                f"another migration has been running for {seconds:g} s",
                field=f"schema {schema}",
                fix="let it end, then run `perdure migrate` again",
            )
        time.sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        with suppress(DatabaseError):  # a broken connection has let go of the lock by itself
            drive(conn, one(UNLOCK, key=key))


def _apply_patiently(
    conn: psycopg.Connection[Any],
    migration: Migration,
    schema: str,
    lock_seconds: float,
    attempts: int,
    deadline: float,
    say: Say,
) -> None:
    """Apply one file; while a table is locked, let go, let others through, and try again."""
    for attempt in range(1, attempts + 1):
        try:
            with looking_out(conn, deadline) as lookout, _named(f"migration {migration.title}"):
                _apply(conn, migration, schema, lock_seconds)
            return
        except TransientError as busy:
            if lookout.gave_up:
                raise StatementTimeout(
                    f"was given up, because the migrations have taken as long as they may{lookout.named()}",
                    sqlstate=busy.sqlstate,
                    field=f"migration {migration.title}",
                    fix="nothing of it was kept; run `perdure migrate` again when fewer others work, or give it longer",
                ) from busy
            if busy.sqlstate not in _BUSY:
                raise
            if attempt == attempts:
                raise LockTimeout(
                    f"a table it changes was locked {attempts} times for {lock_seconds:g} s{lookout.named()}",
                    sqlstate=busy.sqlstate,
                    field=f"migration {migration.title}",
                    fix="end the transaction that holds it (pg_terminate_backend), then run `perdure migrate` again",
                ) from busy
            say(f"{migration.title} waits for a lock (attempt {attempt} of {attempts}){lookout.named()}")
            time.sleep(min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS * 2**attempt))


def _apply(conn: psycopg.Connection[Any], migration: Migration, schema: str, lock_seconds: float) -> None:
    with conn.transaction():
        drive(conn, one(LIMIT, lock_timeout=f"{round(lock_seconds * 1000)}ms"))
        # Without parameters the text goes as it is, as many statements as it holds.
        conn.execute(in_schema(migration.text, schema).encode())
        noted = {"number": migration.number, "phase": migration.phase, "name": migration.name}
        drive(conn, rows(RECORD, checksum=migration.checksum, **noted), schema)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Name the migration in what Postgres says."""
    try:
        yield
    except (psycopg.Error, DatabaseError) as error:
        said = error if isinstance(error, DatabaseError) else translate(error)
        if said is None:
            raise
        fix = "nothing of it was kept; correct the cause, then run `perdure migrate` again"
        raise type(said)(f"failed: {said.message}", sqlstate=said.sqlstate, field=what, fix=fix) from error
