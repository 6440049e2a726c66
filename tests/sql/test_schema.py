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
