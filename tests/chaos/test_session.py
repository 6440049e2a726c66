"""Sessions that the server ends at the worst moment."""

from __future__ import annotations

import psycopg
import pytest

from perdure.core.errors import ConnectionLost
from perdure.core.op import Op
from perdure.jobs.ops import queues
from perdure.pg.link import Link
from tests.conftest import Database


def _ends_its_session(conn: psycopg.Connection[tuple[int]]) -> Op[None]:
    """A statement, then the end of the session it ran in, while the process is too busy to read about it."""
    yield from queues.ensure(["default"])
    ours = "from pg_stat_activity where application_name = 'perdure-settle' and datname = current_database()"
    conn.execute(f"select pg_terminate_backend(pid, 10000) {ours}")
    while conn.execute(f"select {ours}").fetchone() is not None:
        pass


async def test_a_session_that_ends_inside_a_transaction_is_a_lost_connection(db: Database) -> None:
    """When the server ends a session between a transaction's statements and its commit, while the loop is held up, the
    link says ConnectionLost and connects anew. Red when the driver's InternalClientError passes: a worker breaks."""
    conn, link = db.connect(), Link(db.url, db.schema, "settle")
    try:
        with pytest.raises(ConnectionLost):
            await link.transaction(_ends_its_session(conn))

        assert list(await link.run(queues.ensure(["default"]))) == ["default"]
    finally:
        await link.close()
