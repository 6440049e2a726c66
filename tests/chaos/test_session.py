"""Sessions that the server ends at the worst moment."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from perdure.app.registry import App
from perdure.core.errors import ConnectionLost
from perdure.core.op import Op, Statement, rows
from perdure.jobs.ops import queues
from perdure.pg import connect
from perdure.pg.link import Link
from tests.conftest import Database
from tests.rooms.worker.stage import Stage, until, working

SLOW = Statement("test.slow", "select pg_sleep(0.3)", lambda row: row)
PATIENT = Statement("test.patient", "select set_config('lock_timeout', '0', true)", lambda row: row)
HELD = Statement("test.held", "select pg_advisory_xact_lock(9182)", lambda row: row)


def _held() -> Op[object]:
    """Wait for a lock, however long it takes."""
    yield from rows(PATIENT)
    return (yield from rows(HELD))


async def test_a_session_that_ends_while_its_answer_waits_to_be_read_is_a_lost_connection(db: Database) -> None:
    """The server answers a statement of a transaction and then ends the session, all while the loop is held up: the
    link says ConnectionLost and connects anew. Red when the driver's InternalClientError passes: a worker breaks."""
    conn, link = db.connect(), Link(db.url, db.schema, "settle")
    conn.execute("select pg_advisory_lock(9182)")
    state = "select wait_event_type, state, pid from pg_stat_activity where query ~ '^select pg_advisory_xact_lock'"
    task = asyncio.create_task(link.transaction(_held()))
    try:
        await until(lambda: (conn.execute(state).fetchone() or ("",))[0] == "Lock")
        # From here on the loop is held up, until the session has answered and is gone.
        conn.execute("select pg_advisory_unlock(9182)")
        while (found := conn.execute(state).fetchone()) is not None and found[1] == "active":
            pass
        assert found is not None
        assert found[1] == "idle in transaction"
        conn.execute("select pg_terminate_backend(%s, 10000)", [found[2]])
        with pytest.raises(ConnectionLost):
            await task

        assert list(await link.run(queues.ensure(["default"]))) == ["default"]
    finally:
        await link.close()


async def test_a_session_that_says_nothing_is_given_up(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement whose server is frozen ends by the client's own bound, and the link connects anew. Red without that
    bound: a wire that was cut in silence would hold a worker for as long as the system retransmits."""
    link = Link(db.url, db.schema, "claim")
    with monkeypatch.context() as hasty:
        hasty.setattr(connect, "SILENT_SECONDS", 0.5 - connect.BOUNDS["claim"].statement_ms / 1_000)
        pid = (await link.connection()).get_server_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ConnectionLost):
            await link.run(rows(SLOW))

        assert list(await link.run(queues.ensure(["default"]))) == ["default"]
    finally:
        os.kill(pid, signal.SIGCONT)
        await link.close()


async def test_after_a_reconnect_no_floor_is_taken_for_granted(db: Database) -> None:
    """A worker whose idle claim session has ended may meet a server that has lost the last commits: it looks again from
    the start, and claims what stands below the floor it had. Red when only a broken claim resets the floors."""
    stage, app = Stage(db), App("a")

    @app.task
    async def work() -> None: ...

    ids = await stage.enqueue(*[work.job() for _ in range(50)])
    async with working(db, app) as worker:
        await stage.until_all_in("history", ids)
        floor = worker._intakes[0].floor
        await until(lambda: max(floor.floor.values()) >= max(ids))
        await stage.value(
            "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity where application_name ~ 'claim' "
            "and datname = current_database()"
        )
        (id,) = await stage.enqueue(work.job().options(delay=3_600))
        # As a server brings it back that never heard of its claim: at a position the floor has passed.
        await stage.rows(
            "with s as (delete from perdure.scheduled where id = %s), "
            "j as (update perdure.job set pos = 1, run_at = null where id = %s returning lane, id) "
            "insert into perdure.ready (lane, pos, id) select lane, 1, id from j returning 1",
            id,
            id,
        )
        await stage.until_in("history", id)
