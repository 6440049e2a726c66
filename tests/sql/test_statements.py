"""Every statement file is one that Postgres understands, on the migrated schema, as the workers' driver sends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from perdure.sql import in_schema, numbered, statement
from tests.conftest import Database
from tests.tidy import source

NAMES = sorted(f"{path.parent.name}.{path.stem}" for path in source.STATEMENTS.rglob("*.sql"))
SCHEMA = "cell_seven"
UTILITY = re.compile(r"(?:create|drop|truncate|vacuum|checkpoint|savepoint|release|rollback)\b")
"""What can't be prepared; it is run instead."""

MAKERS = [name for name in NAMES if re.search(r"\.create_", name)]


@pytest.fixture(scope="module")
def other_schema(new_database: Callable[[str, str], Database], template: str) -> Iterator[psycopg.Connection[Any]]:
    """A migrated schema under another name, and in it the tables that the demonstration and the benchmark make."""
    database = new_database("statements", template)
    conn = database.connect()
    conn.execute(f"alter schema perdure rename to {SCHEMA}".encode())
    for name in MAKERS:
        conn.execute(_text(name).encode())
    yield conn
    database.close()


def _text(name: str) -> str:
    return in_schema(statement(name, lambda row: row).text, SCHEMA)


@pytest.mark.parametrize("name", [name for name in NAMES if not UTILITY.match(_text(name))])
def test_a_statement_is_understood(other_schema: psycopg.Connection[Any], name: str) -> None:
    """The statement prepares: its tables and columns are there, and every parameter has a type of its own. The schema's
    name is a parameter too: nothing in the statement needs it to be ``perdure``."""
    text, parameters = numbered(statement(name, lambda row: row), SCHEMA)

    other_schema.execute(f"prepare said as {text}".encode(), prepare=False)
    [(types,)] = other_schema.execute("select parameter_types::text[] from pg_prepared_statements where name = 'said'")
    other_schema.execute("deallocate said")

    assert len(types) == len(parameters)
    assert "unknown" not in types


@pytest.mark.parametrize("name", [name for name in NAMES if UTILITY.match(_text(name)) and name not in MAKERS])
def test_a_utility_statement_runs(other_schema: psycopg.Connection[Any], name: str) -> None:
    """What can't be prepared runs, in a transaction that is rolled back where it may be."""
    text = _text(name).encode()
    if name.rpartition(".")[2] in ("vacuum", "checkpoint"):
        other_schema.execute(text)
        return
    with other_schema.transaction(force_rollback=True):
        other_schema.execute(_text("session.savepoint").encode())  # some need one
        other_schema.execute(text)
