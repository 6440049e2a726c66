"""Trouble around the workers: an interpreter that is held, a server that refuses, is full, or has lost what it knew."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from perdure.jobs.ops.queues import ensure, pause, resume
from perdure.pg.drive import drive
from perdure.pg.migrate import migrate
from tests.chaos.floor import Floor, Record, until
from tests.chaos.shop import (
    hold_the_interpreter,
    nothing,
    pass_gate,
    sell,
    serve,
    serve_until_told,
    wait,
    wait_at,
)
from tests.conftest import Database, NewServer
from tests.servers import Server

WORKERS_SESSIONS = "from pg_stat_activity where application_name ~ '^perdure-' and datname = current_database()"
TMPFS_MB = 220


def _own(server: Server, folder: Path, record: Record) -> Floor:
    with server.connect() as conn:
        migrate(conn)
    return Floor(Database(server, "postgres"), folder, record)


@pytest.fixture
def own_floor(new_server: NewServer, tmp_path: Path, record: Record) -> Iterator[Floor]:
    """A floor on a server of its own, which can be made read-only, full or forgetful."""
    with new_server(fsync="on", full_page_writes="on", max_connections="20") as server:
        floor = _own(server, tmp_path, record)
        yield floor
        floor.close()
        floor.db.close()


BEFORE = 50


def _gated(floor: Floor) -> tuple[Path, list[int]]:
    """Jobs of which just so many can end before there is a file; the file, and their ids."""
    gate = floor.folder / "gate"
    before = floor.enqueue(*[wait.job(0.05) for _ in range(BEFORE)])
    return gate, [*before, *floor.enqueue(*[wait_at.job(str(gate)) for _ in range(50)])]


@pytest.mark.newest
def test_an_interpreter_that_is_held_is_taken_for_dead_and_refused_afterwards(floor: Floor, tmp_path: Path) -> None:
    """Code in C that keeps the interpreter keeps the heart from beating, too: the worker is declared dead, what it held
    runs elsewhere, and when it comes back its late ends are refused [DW-102, DW-43]. Red without the generation in a
    settlement."""
    first, again = pipes = [str(tmp_path / name) for name in ("first", "again")]
    for pipe in pipes:
        os.mkfifo(pipe)
    ids = floor.enqueue(hold_the_interpreter.job(first, again), *[sell.job() for _ in range(20)])
    held = floor.worker("--queues", "default:1")
    floor.until_true("select count(*) = 1 from effect where what = 'begun'")
    began = floor.now()
    floor.relief("--queues", "default:5")
    floor.until_finished(ids[1:])
    took = floor.seconds("select max(finished_at) from perdure.history where task = 'sell'", since=began)
    floor.recovered("an interpreter that was held: its other jobs are done", took)
    floor.until_true("select count(*) = 2 from effect where what = 'begun'")
    with open(first, "r+b", buffering=0) as late, open(again, "r+b", buffering=0) as other:
        late.write(b"1")
        until(lambda: "was declared dead by another" in held.said() and "stale: job" in held.said(), held.said)
        assert floor.value("select count(*) from perdure.history where id = %s", ids[0]) == 0
        other.write(b"2")
        floor.until_finished(ids)

    floor.assert_settled_once(ids)
    assert not held.ended
    assert floor.value("select max(attempt) from perdure.history") == 1
    assert set(floor.effects("sold")) == set(ids[1:])


def test_a_read_only_server_is_waited_for(own_floor: Floor) -> None:
    """The server turns read-only under a busy worker, as a primary does that is about to be replaced: the worker waits,
    charges nobody, and goes on when it can write again. Red when a refusal to write fails an attempt or ends a loop."""
    floor = own_floor
    floor.conn.execute("set default_transaction_read_only = off")
    gate, ids = _gated(floor)
    worker = floor.worker("--queues", "default:10", lasting=True)
    floor.until_true("select count(*) = %s from perdure.history", BEFORE)
    floor.conn.execute("alter system set default_transaction_read_only = on")
    floor.conn.execute("select pg_reload_conf()")
    until(lambda: "read-only transaction" in worker.said(), worker.said)
    gate.touch()
    until(lambda: "a settlement will be repeated" in worker.said(), worker.said)
    floor.conn.execute("alter system reset default_transaction_read_only")
    floor.conn.execute("select pg_reload_conf()")
    back = floor.now()
    floor.until_finished(ids)
    took = floor.seconds("select min(finished_at) from perdure.history where finished_at > %s", back, since=back)
    floor.recovered("a server that was read-only: the first settlement", took)

    assert not worker.ended
    floor.assert_settled_once(ids)
    assert floor.value("select max(attempt) from perdure.history") == 1


def test_a_server_without_a_free_connection_is_waited_for(own_floor: Floor) -> None:
    """A busy worker loses all its sessions, and others take every slot of the server: it waits for one, charges nobody,
    and goes on when there is room. Red when a refused connection ends a loop."""
    floor = own_floor
    gate, ids = _gated(floor)
    worker = floor.worker("--queues", "default:10", lasting=True)
    floor.until_true("select count(*) = %s from perdure.history", BEFORE)
    others: list[psycopg.Connection[tuple[object, ...]]] = []

    def all_taken() -> bool:
        floor.value(f"select count(pg_terminate_backend(pid)) {WORKERS_SESSIONS}")
        with suppress(psycopg.OperationalError):
            while True:
                others.append(psycopg.connect(floor.db.url))
        return floor.value(f"select count(*) = 0 {WORKERS_SESSIONS}") is True

    until(all_taken)
    until(lambda: "too many clients" in worker.said() or "connection slots" in worker.said(), worker.said)
    gate.touch()
    for each in others:
        each.close()
    back = floor.now()
    floor.until_finished(ids)
    took = floor.seconds("select min(finished_at) from perdure.history where finished_at > %s", back, since=back)
    floor.recovered("a server without a free connection: the first settlement", took)

    assert not worker.ended
    floor.assert_settled_once(ids)
    assert floor.value("select max(attempt) from perdure.history") == 1


def test_a_server_that_takes_over_without_the_last_commits(own_floor: Floor) -> None:
    """The server fails, and one takes over that lacks the last commits: what it knows, it keeps. Every job it has is
    settled once, whatever the lost server had said of it; what was committed on the lost one alone is gone with it,
    and the workers find out by themselves what they hold. Red when a worker trusts its floors or its leases."""
    floor, cluster = own_floor, own_floor.db.server.cluster
    gate, down = floor.folder / "gate", floor.folder / "down"
    ids = floor.enqueue(*[serve.job(0.05) for _ in range(20)])
    gates = floor.enqueue(*[pass_gate.job(str(gate)) for _ in range(40)])  # more than anybody claims ahead
    ids += gates + floor.enqueue(*[serve.job(0.05) for _ in range(136)])
    held = floor.enqueue(*[pass_gate.job(str(down)) for _ in range(4)])
    ids += held
    workers = [floor.worker("--queues", "default:5", lasting=True) for _ in range(2)]
    floor.until_true("select count(*) = 20 from perdure.history")
    floor.until_true("select count(*) = 10 from effect where what = 'begun' and job = any(%s)", gates)
    copy = cluster.data.with_name("standby")
    floor.db.close()
    cluster.stop("immediate")
    shutil.copytree(cluster.data, copy, symlinks=True)
    os.chown(copy, cluster.owner.uid, cluster.owner.gid)
    subprocess.run(["chown", "-R", f"{cluster.owner.uid}:{cluster.owner.gid}", copy], check=True)
    cluster.start()
    floor.reconnect()
    gate.touch()
    floor.until_finished([id for id in ids if id not in held])
    floor.until_true("select count(*) = 4 from effect where what = 'begun' and job = any(%s)", held)
    lost: list[int] = []
    for _ in range(30):  # by then the workers' floors are above everything that the other server has
        lost += floor.enqueue(sell.job())
        floor.until_finished(lost[-1:])
    floor.db.close()
    cluster.stop("immediate")
    down.touch()  # these fail, and it is another server that hears of it, which doesn't know their claim
    shutil.rmtree(cluster.data)
    copy.rename(cluster.data)
    cluster.start()
    floor.reconnect()
    back = floor.now()
    floor.until_finished(ids)
    took = floor.seconds("select min(finished_at) from perdure.history where finished_at > %s", back, since=back)
    floor.recovered("a server that lacks the last commits: the first settlement", took)

    assert not any(worker.ended for worker in workers)
    assert floor.value("select count(*) from perdure.history where id = any(%s)", lost) == 0
    assert floor.rows("select * from perdure.attempt where ending = 'retry' and job = any(%s)", held) == []
    floor.assert_settled_once(ids)
    (more,) = floor.enqueue(sell.job())
    floor.until_finished([more])


def test_a_dump_with_live_leases_is_restored_and_goes_on(floor: Floor) -> None:
    """A database that is dumped while workers hold jobs can be restored and worked on: what was leased there is taken
    from workers that don't exist, and every job the dump has is settled once. Red when a restored lease is for ever."""
    gate = floor.folder / "gate"
    ids = floor.enqueue(*[serve.job(0.05) for _ in range(50)])
    gates = floor.enqueue(*[pass_gate.job(str(gate)) for _ in range(10)])
    ids += gates + floor.enqueue(*[serve.job(0.05) for _ in range(90)])
    floor.worker("--queues", "default:10")
    floor.until_true("select count(*) = 10 from effect where what = 'begun' and job = any(%s)", gates)
    cluster = floor.db.server.cluster
    dump = subprocess.run(
        [cluster.binaries / "pg_dump", floor.db.url], capture_output=True, check=True, timeout=60
    ).stdout
    restored = Database(floor.db.server, f"{floor.db.name}_restored")
    with floor.db.server.connect() as conn:
        conn.execute(f"create database {restored.name}")
    try:
        subprocess.run([cluster.binaries / "psql", "-q", restored.url], input=dump, capture_output=True, check=True)
        after = Floor(restored, floor.folder, fresh=False)
        leased = after.value("select count(*) from perdure.jobs where place = 'leased'")
        gate.touch()
        began = after.now()
        process = floor.worker("--queues", "default:10", url=restored.url, started=False, lasting=True)
        after.processes.append(process)
        after.until_finished(ids)
        floor.recovered("a restored dump: all done", after.seconds(
            "select max(finished_at) from perdure.history", since=began))  # fmt: skip

        assert leased >= 10
        after.assert_settled_once(ids)
        process.kill()
    finally:
        restored.close()
        with floor.db.server.connect() as conn:
            conn.execute(f"drop database {restored.name} with (force)")
    floor.until_finished(ids)


@pytest.mark.newest
def test_a_queue_paused_mid_batch_finishes_what_runs(floor: Floor) -> None:
    """A queue that is paused while a batch runs: what is in a worker's hands ends, nothing more is claimed, and all of
    it goes on when the queue is resumed. Red when a claim doesn't look, or a pause takes away what runs."""
    ids = floor.enqueue(*[serve_until_told.job() for _ in range(5)], *[nothing.job() for _ in range(200)])
    floor.worker("--queues", "default:5", lasting=True)
    floor.until_true("select count(*) = 5 from effect where what = 'begun'")
    drive(floor.conn, pause("default"))
    floor.conn.execute("insert into told values (true)")
    floor.until_finished(ids[:5])
    floor.until_true("select count(*) = 0 from perdure.lease")
    left = floor.value("select count(*) from perdure.ready")
    resumed = floor.now()
    drive(floor.conn, resume("default"))
    floor.until_finished(ids)
    took = floor.seconds("select min(finished_at) from perdure.history where finished_at > %s", resumed, since=resumed)
    floor.recovered("a queue that was paused: the first settlement", took)

    assert left > 0
    floor.assert_settled_once(ids)


def test_a_held_writing_transaction_holds_up_its_own_jobs_only(floor: Floor) -> None:
    """A transaction that has enqueued stays open while thousands of jobs are drained around it: nobody waits for it,
    and its jobs, far below every floor by then, run when it commits [DW-111]. Red when a floor has no guards."""
    drive(floor.conn, ensure(["default"]))  # whoever makes a queue's row holds up all who name it for the first time
    holder = floor.db.connect()
    holder.execute("begin")
    early = drive(holder, floor.enqueueing(*[sell.job() for _ in range(10)]))
    ids = floor.enqueue(*[nothing.job() for _ in range(6_000)])
    worker = floor.worker("--queues", "default:50", lasting=True)
    floor.until_finished(ids)
    more = floor.enqueue(*[nothing.job() for _ in range(2_000)])
    floor.until_finished(more)
    committed = floor.now()
    holder.execute("commit")
    floor.until_finished(early)
    took = floor.seconds("select max(finished_at) from perdure.history", since=committed)
    floor.recovered("a writing transaction that was held: its jobs are done", took)

    assert not worker.ended
    floor.assert_settled_once([*early, *ids, *more])


@pytest.fixture
def full_floor(new_server: NewServer, tmp_path: Path, record: Record) -> Iterator[Floor]:
    """A floor on a server whose disk is small: a file system in memory. Skips where none can be mounted."""
    disk = Path(tempfile.mkdtemp(prefix="perdure-disk-"))  # the path of the server's socket must not become too long
    disk.chmod(0o755)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MB}m", "none", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        with new_server(disk, fsync="on", min_wal_size="32MB", max_wal_size="32MB", max_connections="20") as server:
            floor = _own(server, tmp_path, record)
            yield floor
            floor.close()
            floor.db.close()
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
        disk.rmdir()


def test_a_full_disk_is_waited_for(full_floor: Floor) -> None:
    """The disk of the server fills up under a busy worker, until nothing can be written, its log included: the worker
    waits, charges nobody, and goes on when there is room, also when the server had to be started again. Red when a
    refused write fails an attempt."""
    floor, cluster = full_floor, full_floor.db.server.cluster
    gate, ids = _gated(floor)
    last = floor.folder / "last"
    ids += floor.enqueue(wait_at.job(str(last)))
    worker = floor.worker("--queues", "default:10", lasting=True)
    floor.until_true("select count(*) = %s from perdure.history", BEFORE)
    ballast = cluster.data.parent / "ballast"
    free = shutil.disk_usage(ballast.parent).free
    with ballast.open("wb") as out, suppress(OSError):
        out.write(b"\0" * free)
    with suppress(psycopg.Error):
        while True:  # the log fills what is left
            floor.conn.execute("select pg_logical_emit_message(false, 'fill', repeat('x', 1000000))")
    until(lambda: "No space left" in cluster.tail() or "No space left" in worker.said(), worker.said)
    gate.touch()  # whether what ends now finds a little room or none is chance
    ballast.unlink()
    until(lambda: _answers(floor), cluster.tail)
    back = floor.now()
    last.touch()
    floor.until_finished(ids)
    took = floor.seconds("select min(finished_at) from perdure.history where finished_at > %s", back, since=back)
    floor.recovered("a full disk: the first settlement after there was room", took)

    assert not worker.ended
    floor.assert_settled_once(ids)
    assert floor.value("select max(attempt) from perdure.history") == 1


def _answers(floor: Floor) -> bool:
    """Whether the server does; one that has given up meanwhile, which it may at any moment, is started again."""
    cluster = floor.db.server.cluster
    if cluster.postmaster() is None:
        cluster.start()
    with suppress(psycopg.Error):
        floor.reconnect()
        return floor.value("select true") is True
    return False
