"""A server that goes away: restarted, not there yet, its sessions ended, the wire to it cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.pg.migrate import migrate
from tests.chaos.floor import Floor, Record, until
from tests.chaos.proxy import Moment, Proxy
from tests.chaos.shop import nothing, pass_gate, sell, sell_at_second_try, serve
from tests.conftest import Database, NewServer


@pytest.fixture
def own_floor(new_server: NewServer, tmp_path: Path, record: Record) -> Iterator[Floor]:
    """A floor on a server of its own, which the test may stop. Its commits are durable: it will crash."""
    with new_server(fsync="on", full_page_writes="on") as server:
        with server.connect() as conn:
            migrate(conn)
        database = Database(server, "postgres")
        floor = Floor(database, tmp_path, record)
        yield floor
        floor.close()
        database.close()


@pytest.fixture
def proxy(floor: Floor) -> Iterator[Proxy]:
    """A wire to the floor's database that can be cut."""
    proxy = Proxy(floor.db.url)
    yield proxy
    floor.close()
    proxy.close()


def test_workers_live_through_a_crash_of_the_server(own_floor: Floor) -> None:
    """Postgres is restarted as after a crash while two workers run jobs: both go on by themselves, every job is settled
    once, and no attempt is charged for it [DW-3, DW-30]. Red when a lost connection ends a loop."""
    floor, gate = own_floor, own_floor.folder / "gate"
    ids = floor.enqueue(*[serve.job(0.1) for _ in range(100)], *[pass_gate.job(str(gate)) for _ in range(20)])
    ids += floor.enqueue(*[serve.job(0.1) for _ in range(180)])
    workers = [floor.worker("--queues", "default:10") for _ in range(2)]
    floor.until_true("select count(*) > 40 from effect where what = 'begun'")
    floor.db.server.restart("immediate")
    floor.reconnect()
    back = floor.now()
    gate.touch()
    floor.until_finished(ids)
    took = floor.value("select extract(epoch from min(finished_at) - %s)::float8 from perdure.history "
                       "where finished_at > %s", back, back)  # fmt: skip
    floor.recovered("a crash of the server: the first settlement", took)

    floor.assert_settled_once(ids)
    assert not any(process.ended for process in workers)
    assert set(floor.effects("ended")) == set(ids)
    (more,) = floor.enqueue(sell.job())
    floor.until_finished([more])


def test_a_worker_waits_for_a_server_that_is_down(own_floor: Floor) -> None:
    """Started while the database is down, a worker says that it waits, and works when the server comes up. Red when the
    first refused connection ends it."""
    floor = own_floor
    ids = floor.enqueue(*[sell.job() for _ in range(10)])
    floor.db.server.cluster.stop("fast")
    worker = floor.worker(started=False, lasting=True)
    until(lambda: "waiting for Postgres" in worker.said(), worker.said)
    floor.db.server.cluster.start()
    floor.reconnect()
    floor.until_finished(ids)

    assert not worker.ended
    floor.assert_settled_once(ids)


def test_a_worker_whose_sessions_are_all_ended_recovers(floor: Floor) -> None:
    """Again and again every session of a busy worker is ended by the server: it finds out what it holds, and nothing is
    lost or settled twice; nobody declares it dead [DW-3]. Red when a claim of unknown outcome isn't looked for."""
    ids = floor.enqueue(*[serve.job(0.02) for _ in range(1_500)])
    worker = floor.worker("--queues", "default:20", lasting=True)
    row = floor.row(worker)
    ours = "from pg_stat_activity where application_name ~ '^perdure' and datname = current_database()"
    ended = 0
    for step in range(1, 7):
        floor.until_true("select count(*) > %s from effect where what = 'ended'", step * 150)
        ended += floor.value(f"select count(pg_terminate_backend(pid)) {ours}")
    floor.until_finished(ids)
    print(f"{ended} sessions ended; incarnation {floor.value('select max(incarnation) from perdure.worker')}")

    floor.assert_settled_once(ids)
    assert ended >= 6
    assert floor.row(worker) == row
    assert floor.rows("select distinct attempt, rescues from perdure.history") == [(1, 0)]
    assert set(floor.effects("ended")) == set(ids)


MOMENTS: dict[str, Moment] = {
    "claim": lambda session, text: "insert into perdure.lease" in text,
    "settle": lambda session, text: "insert into perdure.history" in text,
    "retry": lambda session, text: "insert into perdure.scheduled" in text and session.startswith("perdure-settle "),
    "commit": lambda session, text: text == "commit" and session.startswith("perdure-settle "),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_wire_cut_before_the_answer_leaves_nothing_in_doubt(floor: Floor, proxy: Proxy, moment: str) -> None:
    """The wire is cut when a claim, a settlement or the commit of one has been carried out and its answer is on its
    way: the worker finds out what happened, no handler runs twice, and every job is settled once [DW-3, DW-30]. Red
    when an unknown outcome is taken for a failure, or for a success."""
    worker = floor.worker("--queues", "default:5", url=proxy.url, lasting=True, EFFECTS_URL=floor.db.url)
    ids = floor.enqueue(*[sell.job() for _ in range(50)])
    floor.until_finished(ids)
    for cut in range(1, 4):
        proxy.cut_after(MOMENTS[moment])
        # Ends of two kinds in one flush are a transaction; which ends meet is chance, so until they do.
        while proxy.cuts < cut:
            ids += floor.enqueue(*[each.job() for _ in range(10) for each in (sell, sell_at_second_try)])
            floor.until_finished(ids)
    floor.until_true("select count(*) = 0 from perdure.lease")

    floor.assert_settled_once(ids)
    assert floor.effects("sold") == dict.fromkeys(ids, 1)
    assert floor.value("select max(rescues) from perdure.history") == 0
    assert "stale: job" not in worker.said()
    assert not worker.ended


def test_a_held_snapshot_and_a_drain_do_not_meet(floor: Floor) -> None:
    """Under a snapshot that another session holds, with thousands of jobs churned beneath it, a worker drains and its
    successor claims what was given back, low positions and all [DW-111]. Red when a new worker trusts an old floor."""
    holder = floor.db.connect()
    holder.execute("begin transaction isolation level repeatable read")
    holder.execute("select count(*) from perdure.ready")
    ids = floor.enqueue(*[nothing.job() for _ in range(4_000)])
    ids += floor.enqueue(*[serve.job(0.05) for _ in range(200)])
    ids += floor.enqueue(*[nothing.job() for _ in range(4_000)])
    for _ in range(3):
        ids += floor.enqueue(*[serve.job(0.05) for _ in range(50)])  # some for this one, however far the last has come
        worker = floor.worker("--queues", "default:10", lasting=True)
        floor.until_true("select count(*) > 20 from effect where pid = %s and what = 'begun'", worker.pid)
        assert worker.stop() == 0
    floor.relief("--queues", "default:50")
    floor.until_finished(ids)

    floor.assert_settled_once(ids)
    assert floor.rows("select distinct attempt, rescues from perdure.history") == [(1, 0)]
    holder.execute("commit")
