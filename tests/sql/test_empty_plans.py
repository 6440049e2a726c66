"""A plan that was made while everything was empty is a good one when everything is full.

Workers' plans are kept (``PLANS``), and the moment at which one is made isn't ours: after a queue ran empty, a vacuum
says that its tables have no rows, and for Postgres any order of joining nothing with nothing costs the same. One that
reads a whole table for each job of a claim made a burst of 60,000 jobs ten times slower, until the next ANALYZE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from perdure.pg.link import PLANS
from perdure.sql import numbered, statement
from tests.conftest import Database
from tests.sql.explaining import walks
from tests.tidy import source

LARGE = {"job", "ready", "scheduled", "held", "dead", "history", "attempt", "waiting", "run", "step", "signal",
         "unique", "effect", "checkpoint", "progress", "follow", "followed", "entity"}  # fmt: skip

ROOMS = {"jobs", "fleet", "queues", "workflows", "machines"}

WHOLE = {
    "jobs.list", "jobs.get", "jobs.stuck", "jobs.count_dead", "jobs.left_over", "queues.list", "machines.counts",
    "workflows.live", "workflows.get", "workflows.list_saying", "workflows.stuck", "workflows.versions",
    "jobs.hasten", "workflows.skip_time",
    "jobs.drop_attempt_strays", "jobs.drop_history_strays",
    "jobs.sweep_sides", "workflows.untold",
}  # fmt: skip
"""What people and callers ask, over sessions that plan anew; what only tests do; sweeps, which read a table anyway."""

NAMES = sorted(f"{path.parent.name}.{path.stem}" for path in source.STATEMENTS.rglob("*.sql"))


@pytest.fixture(scope="module")
def empty(new_database: Callable[[str, str], Database], template: str) -> Iterator[psycopg.Connection[Any]]:
    """A schema in which every table has just been vacuumed, over a session like a worker's."""
    database = new_database("empty_plans", template)
    conn = database.connect()
    conn.execute("vacuum")
    for name, value in PLANS.items():
        conn.execute("select set_config(%s, %s, false)", [name, value])
    yield conn
    database.close()


def _planned(conn: psycopg.Connection[Any], name: str) -> dict[str, Any]:
    text, parameters = numbered(statement(name, lambda row: row), "perdure")
    conn.execute(f"prepare said as {text}".encode(), prepare=False)
    try:
        nothing = f"({', '.join(['null'] * len(parameters))})" if parameters else ""
        found = conn.execute(f"explain (format json) execute said{nothing}".encode(), prepare=False).fetchone()
    finally:
        conn.execute("deallocate said")
    assert found is not None
    plan: dict[str, Any] = found[0][0]["Plan"]
    return plan


@pytest.mark.parametrize("name", [name for name in NAMES if name.split(".")[0] in ROOMS and name not in WHOLE])
def test_a_plan_made_for_empty_tables_still_finds_rows_by_index(empty: psycopg.Connection[Any], name: str) -> None:
    """No statement of a worker reads a large table from end to end, though it was planned when nothing was there; a
    claim that deletes by (lane, pos) of what it picked does, and makes this red."""
    assert list(walks(_planned(empty, name), LARGE)) == []
