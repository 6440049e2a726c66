"""The floor of a chaos test, and the table of recovery times that a run of them ends with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import Client
from tests.chaos.floor import Floor, Record
from tests.chaos.traces import TABLES
from tests.conftest import Database


@pytest.fixture
def record(record_property: Record) -> Record:
    """Keeps a figure of this test for the table."""
    return record_property


@pytest.fixture
def floor(db: Database, tmp_path: Path, record: Record) -> Iterator[Floor]:
    """The test's database and its worker processes, none of which outlives the test."""
    floor = Floor(db, tmp_path, record)
    yield floor
    floor.close()


@pytest.fixture
def client(floor: Floor) -> Iterator[Client]:
    """A client for the floor's database, and the tables in which workflows' steps leave their traces."""
    floor.conn.execute(TABLES)
    with Client(floor.db.url) as client:
        yield client


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How long it took, in this run, until all was well again after each failure."""
    found = sorted(
        (str(what).removeprefix("recovery: "), seconds)
        for reports in terminalreporter.stats.values()
        for report in reports
        for what, seconds in getattr(report, "user_properties", ())
        if getattr(report, "when", None) == "call" and str(what).startswith("recovery: ")
    )
    if found:
        terminalreporter.section("recovery times")
        for what, seconds in found:
            terminalreporter.write_line(f"{seconds:7.2f} s  {what}")
