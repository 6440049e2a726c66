"""Sessions that the server ends at the worst moment."""

from __future__ import annotations

import asyncio

import pytest

from perdure.core.errors import ConnectionLost
from perdure.core.op import Statement, rows
from perdure.jobs.ops import queues
from perdure.pg.link import Link
from tests.conftest import Database
from tests.rooms.worker.stage import until

SLOW = Statement("test.slow", "select pg_sleep(0.3)", lambda row: row)


async def test_a_session_that_ends_while_its_answer_waits_to_be_read_is_a_lost_connection(db: Database) -> None:
    """The server answers a statement of a transaction and then ends the session, all while the loop is held up: the
    link says ConnectionLost and connects anew. Red when the driver's InternalClientError passes: a worker breaks."""
    conn, link = db.connect(), Link(db.url, db.schema, "settle")
    # Its wait says that the statement runs: "active" is a session, too, whose parsed statement isn't executed yet.
    state = "select wait_event, pid from pg_stat_activity where query ~ '^select pg_sleep' and pid <> pg_backend_pid()"
    task = asyncio.create_task(link.transaction(rows(SLOW)))
    try:
        await until(lambda: (conn.execute(state).fetchone() or ("",))[0] == "PgSleep")
        # From here on the loop is held up, until the session has answered and is gone.
        while (found := conn.execute(state).fetchone()) is not None and found[0] == "PgSleep":
            pass
        assert found is not None
        conn.execute("select pg_terminate_backend(%s, 10000)", [found[1]])
        with pytest.raises(ConnectionLost):
            await task

        assert list(await link.run(queues.ensure(["default"]))) == ["default"]
    finally:
        await link.close()
