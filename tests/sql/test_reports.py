"""Reports: read-only questions that stand alone, in psql as in the program."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import psycopg
import pytest

from perdure.sql import in_schema, report_names, report_text
from tests.conftest import Database

SCHEMA = "cell_seven"


@pytest.fixture(scope="module")
def other_schema(new_database: Callable[[str, str], Database], template: str) -> Iterator[psycopg.Connection]:
    """A migrated schema under another name."""
    database = new_database("reports", template)
    conn = database.connect()
    conn.execute(f"alter schema perdure rename to {SCHEMA}".encode())
    yield conn
    database.close()


@pytest.mark.parametrize("name", report_names())
def test_a_report_opens_with_its_question(name: str) -> None:
    """Line 1 is the question, then what it reads and what to do with the answer; and nothing in it is a parameter,
    so that psql takes it as it is."""
    question, reads, then, *query = report_text(name).splitlines()

    assert re.fullmatch(r"-- [A-Z].*\?", question)
    assert re.match(r"-- Reads: \S", reads)
    assert re.match(r"-- Then: \S", then)
    assert "%" not in "".join(query)
    assert query[-1].endswith(";")


@pytest.mark.parametrize("name", report_names())
def test_a_report_answers_in_a_transaction_that_only_reads(other_schema: psycopg.Connection, name: str) -> None:
    """The report runs on a schema of any name, in a read-only transaction."""
    with other_schema.transaction():
        other_schema.execute("set transaction read only")
        found = other_schema.execute(in_schema(report_text(name), SCHEMA).encode())

        assert found.description
