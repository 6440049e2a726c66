"""Workflows under kill -9: what is recorded is never done again, and every run ends as if nothing had happened."""

from __future__ import annotations

import signal

from perdure import Client
from tests.chaos import checkout as shop
from tests.chaos.floor import Floor, Process, until
from tests.chaos.traces import TRIED_AGAIN

POINTS = [
    "workflow.before_step", "workflow.after_step", "workflow.before_record", "workflow.after_record",
    "workflow.before_commit", "workflow.after_commit", "workflow.after_spawn", "settle.before_flush",
    "settle.after_flush", "claim.after",
]  # fmt: skip


def _worker(floor: Floor, fault: str = "", slots: int = 10) -> Process:
    """A worker, which is there to be lost if it has a fault."""
    arguments, lasting = ("--queues", f"default:{slots}"), not fault
    app = "tests.chaos.checkout:app"
    return floor.worker(*arguments, app=app, started=lasting, lasting=lasting, PERDURE_FAULT=fault)


def _assert_recorded_once(floor: Floor) -> None:
    """No step was tried again after it was recorded, and none was tried before the one ahead of it was recorded."""
    assert floor.rows(TRIED_AGAIN) == []
    ahead = (
        "select t.run, t.step from tried t join perdure.run r on r.id = t.run "
        "join perdure.step s on s.run = r.job and s.name = t.step "
        "join perdure.step p on p.run = r.job and p.seq < s.seq and p.kind = 'step' and t.step in ('charge') "
        "where t.at < p.ended_at"
    )
    assert floor.rows(ahead) == []


def test_a_checkout_survives_a_kill_at_every_fault_point(floor: Floor, client: Client) -> None:
    """Workers that are killed at each point of a run's way while thirty checkouts go on: each ends with its result,
    each step has one effect, what was recorded was never tried again, rows of the application stand together with the
    record of their step, and no child was started twice [DW-209, DW-190, DW-194].

    Red when a result reaches the code before it is recorded, and when the record of a transaction is written apart.
    """
    ids = _check_out(client, 0, 30)
    doomed = [_worker(floor, f"{point}@{1 + place % 2}:kill", slots=3) for place, point in enumerate(POINTS)]

    def all_killed() -> bool:
        """Whether each has come to its point. Whoever starts late may find nothing that hasn't been begun by another:
        then there are more checkouts."""
        if all(worker.ended for worker in doomed):
            return True
        if not floor.value("select exists (select from perdure.ready)"):
            ids.extend(_check_out(client, len(ids), 3))
        return False

    until(all_killed, floor.logs)
    _worker(floor)
    found = [client.workflows.wait(id, timeout=60) for id in ids]
    count = len(ids)

    assert found == [f"ch_{number} by truck" for number in range(count)]
    assert {worker.wait() for worker in doomed} == {-signal.SIGKILL}
    assert floor.rows("select step, count(*) from done group by step order by step") == [
        ("charge", count), ("invoice", count), ("notify", count), ("reserve", count)]  # fmt: skip
    assert floor.value("select count(*) from paid") == count
    _assert_recorded_once(floor)
    assert floor.value("select count(*) from perdure.run") == 2 * count
    floor.until_true("select count(*) = %s from perdure.history", 2 * count)


def _check_out(client: Client, first: int, count: int) -> list[str]:
    """Start so many checkouts, whose shipments are known already."""
    numbers = range(first, first + count)
    ids = [f"checkout:{number}" for number in numbers]
    client.workflows.start_many((shop.checkout.run(number), id) for number, id in zip(numbers, ids, strict=True))
    for id in ids:
        client.workflows.signal(id, "shipped", "by truck")
    return ids


def test_a_worker_that_was_frozen_records_nothing_and_starts_nothing(floor: Floor, client: Client) -> None:
    """A worker is frozen before it records a step, and another one, which has taken its run, is still at that step:
    when the first one goes on, what it has to record is refused, it starts no further step, and the run has one result
    [DW-193, DW-192].

    Red without the generation in the record of a step.
    """
    floor.conn.execute("insert into paid (run) values ('h')")
    client.workflows.start(shop.two.run(), id="h")
    frozen = _worker(floor, "workflow.before_record:stop")
    floor.until_true("select count(*) = 1 from tried")
    floor.until_true(
        "select not exists (select from perdure.worker where state = 'alive' and expires_at > clock_timestamp())"
    )
    floor.conn.execute("delete from paid")
    heir = _worker(floor)
    floor.until_true("select count(*) = 2 from tried")
    heir.signal(signal.SIGSTOP)
    frozen.signal(signal.SIGCONT)
    # As a new worker it records the steps of another run: what it had to record before, it has sent by then.
    client.workflows.start(shop.checkout.run(2), id="d")
    client.workflows.signal("d", "shipped", 2)
    assert client.workflows.wait("d", timeout=60) == "ch_2 2"

    assert "begins anew" in frozen.said()
    tried = "select step, count(*) from tried where run = 'h' and pid = %s group by step"
    assert floor.rows(tried, frozen.pid) == [("first", 1)]
    recorded = "select s.name from perdure.step s join perdure.run r on r.job = s.run where r.id = 'h'"
    assert floor.rows(recorded) == []
    floor.conn.execute("insert into paid (run) values ('h')")
    heir.kill()
    floor.bury(heir)
    assert client.workflows.wait("h", timeout=60) == "found"
    assert floor.rows("select step, count(*) from tried where run = 'h' group by step order by step") == [
        ("first", 3), ("second", 1)]  # fmt: skip


def test_a_crash_after_two_of_five_runs_only_the_other_three(floor: Floor, client: Client) -> None:
    """A worker is killed when two of five steps that are gathered have been recorded and three run: another one runs
    those three again and no other, and has all five results [KIT-39]. Red when a gathering is carried out whole."""
    client.workflows.start(shop.five.run(), id="g")
    doomed = _worker(floor)
    floor.until_true("select count(*) = 5 and (select count(*) = 2 from perdure.step) from tried")
    doomed.kill()
    floor.bury(doomed)
    floor.conn.execute("insert into paid (run) values ('g')")
    _worker(floor)

    assert client.workflows.wait("g", timeout=60) == [0, 1, 2, 3, 4]
    assert floor.rows("select step, count(*) from tried group by step order by step") == [
        ("s0", 1), ("s1", 1), ("s2", 2), ("s3", 2), ("s4", 2)]  # fmt: skip
