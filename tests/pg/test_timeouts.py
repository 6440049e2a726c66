"""Time-outs of locks and of statements: two settings that aren't each other, kept by the server when nobody is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import closing

import psycopg
import pytest

from perdure.pg.connect import connect
from perdure.runtime.clock import monotonic
from tests.conftest import Database
from tests.pooler import Pooler

DEADLOCK_SECONDS = 0.05
PATIENCE_SECONDS = 60.0


def test_a_deadlock_time_out_ends_no_wait_and_a_lock_time_out_does(db: Database) -> None:
    """Without lock_timeout somebody who waits for a lock that isn't part of a circle outlives deadlock_timeout three
    times over and goes on; with one he fails with 55P03 before deadlock_timeout has come [OPS-24]. No code of ours:
    this is why every class of connection has a lock_timeout. Red on a server where the two were one."""
    holder, waiter, watch = db.connect(), db.connect(), db.connect()
    holder.execute("create table thing (id int)")
    holder.execute("begin")
    holder.execute("lock table thing")
    waiter.execute("set lock_timeout = 0")
    waiter.execute(f"set deadlock_timeout = '{round(DEADLOCK_SECONDS * 1000)}ms'".encode())
    outlived = threading.Event()

    def wait() -> None:
        waiter.execute("select from thing")
        outlived.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    waits = (
        "select extract(epoch from clock_timestamp() - waitstart)::float8 from pg_locks where pid = %s and not granted"
    )
    deadline, waited = monotonic() + PATIENCE_SECONDS, 0.0
    while waited < 3 * DEADLOCK_SECONDS and monotonic() < deadline:
        waited = (watch.execute(waits, [waiter.info.backend_pid]).fetchone() or (0.0,))[0] or 0.0
    assert waited >= 3 * DEADLOCK_SECONDS
    assert not outlived.is_set()
    holder.execute("rollback")
    waiting.join(PATIENCE_SECONDS)
    assert outlived.is_set()

    holder.execute("begin")
    holder.execute("lock table thing")
    waiter.execute("set lock_timeout = '200ms'")
    waiter.execute("set deadlock_timeout = '1h'")
    with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
        waiter.execute("select from thing")
    assert caught.value.sqlstate == "55P03"


CLIENT = """
import sys
from perdure.pg.connect import connect
conn = connect(sys.argv[1], "beat")
print("ready", flush=True)
conn.execute("begin; select pg_sleep(3600)")
"""


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_what_a_dead_client_has_left_running_is_ended_by_the_server(db: Database, pooler: Pooler, way: str) -> None:
    """A process is killed while its statement runs, which Postgres doesn't notice: the statement ends by the time-out
    of its class all the same, and its session with it [KIT-17]. Red without statement_timeout in the class."""
    url, watch = db.url if way == "direct" else pooler.url(db.name), db.connect()
    running = (
        "select count(*) from pg_stat_activity "
        "where query ~ 'pg_sleep.3600' and state = 'active' and pid <> pg_backend_pid()"
    )
    caught, deadline = False, monotonic() + PATIENCE_SECONDS
    while not caught:
        assert monotonic() < deadline
        with subprocess.Popen([sys.executable, "-c", CLIENT if way == "direct" else POOLED, url]) as child:
            caught = _seen(watch, running, child)
            child.send_signal(signal.SIGKILL)
            child.wait(PATIENCE_SECONDS)
    _until(watch, running, 0)


POOLED = CLIENT.replace(
    'conn.execute("begin; select pg_sleep(3600)")',
    """
with conn.transaction():
    conn.execute("select pg_sleep(3600)")
""",
)


def _seen(conn: psycopg.Connection[tuple[int]], query: str, child: subprocess.Popen[bytes]) -> bool:
    """Whether its statement was seen to run. The time-out may have ended it before anybody looked: then it has failed,
    and so has the child."""
    while child.poll() is None:
        if conn.execute(query.encode()).fetchone() == (1,):
            return True
    return False


def _until(conn: psycopg.Connection[tuple[int]], query: str, count: int) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while (found := conn.execute(query.encode()).fetchone()) != (count,):
        assert monotonic() < deadline, f"{found} of them"


def test_a_session_is_named_after_its_class_and_its_worker(db: Database) -> None:
    """pg_stat_activity shows what a session is for, and a worker's which worker it is [KIT-17]."""
    with closing(connect(db.url, "maintenance")) as conn:
        assert conn.execute("select current_setting('application_name')").fetchone() == ("perdure-maintenance",)
