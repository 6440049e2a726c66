"""A place for a test to work in: on the test's own Postgres, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ..core.op import rows
from ..pg.connect import connect
from ..pg.drive import drive
from ..pg.migrate import migrate
from ..runtime.dice import token
from ..sql import statement

DROP_SCHEMA = statement("testing.drop_schema", lambda row: row)


@contextmanager
def fresh(url: str) -> Iterator[str]:
    """A schema of a name that nobody has, migrated: for one test, or for one process of a run of tests. It is dropped
    at the end. Hand its name on as ``schema=``: to clients, to workers, and to everything here."""
    schema = f"perdure_test_{token()}"
    with connect(url, "migration") as conn:
        assert isinstance(conn, psycopg.Connection)
        try:
            migrate(conn, schema=schema)
            yield schema
        finally:
            drive(conn, rows(DROP_SCHEMA), schema)
