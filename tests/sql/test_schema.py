"""The schema is the sum of its migrations, and the committed file that people read says the same."""

from __future__ import annotations

import pytest

from tests.conftest import Database
from tools import dump_schema


def test_the_schema_people_read_is_the_sum_of_the_migrations(db: Database) -> None:
    """A migrated database dumps as src/perdure/sql/schema.sql; run tools/dump_schema.py after a migration [DW-153]."""
    if db.server.version != 18:
        pytest.skip("the file is written with PostgreSQL 18; others word the same schema otherwise")

    assert dump_schema.dump(db.url, db.server.cluster.binaries) == dump_schema.TARGET.read_text()


HOT = ("checkpoint", "chore", "job", "lease", "progress", "queue_sample", "ready", "run", "scheduled", "step",
       "unique_key", "waiting", "worker")  # fmt: skip
"""Tables of which rows come, go or change with each job, beat or save."""


def test_hot_tables_are_vacuumed_by_settings_of_their_own(db: Database) -> None:
    """What changes with each job isn't left to a server's settings, by which a fifth of a table may be dead before it
    is vacuumed; and what is updated in place has room for it on its pages [DW-184]. Red when a migration makes such a
    table without them."""
    found = db.connect().execute(
        "select relname, coalesce(reloptions, '{}') from pg_class "
        "where relnamespace = 'perdure'::regnamespace and relname = any(%s) order by relname",
        [list(HOT)],
    )
    options = {name: dict(each.split("=") for each in given) for name, given in found}

    assert options.keys() == set(HOT)
    assert all(float(given["autovacuum_vacuum_scale_factor"]) <= 0.02 for given in options.values())
    assert {name for name, given in options.items() if "fillfactor" in given} == {
        "checkpoint", "chore", "progress", "worker",
    }  # fmt: skip
