"""What a worker process costs in memory."""

from __future__ import annotations

import psutil  # type: ignore[import-untyped]
import pytest

from tests.chaos.floor import Floor, Process, until
from tests.chaos.shop import nothing, serve_until_told

pytestmark = pytest.mark.newest

MIB = 1024 * 1024
PASSED = 3_000
"""Jobs that the worker has gone through when it is looked at."""

FILL = """
with b as (
    insert into perdure.job (id, pos, created_at, lane, task, payload)
    select n, n, now(), (select id from perdure.queue where name = 'default') * 4096 + 5, 'nothing', '{}'
    from (select nextval('perdure.pos') as n from generate_series(1, %s)) s
    returning id, lane
), a as (
    insert into perdure.ready (lane, pos, id) select lane, id, id from b
)
select count(*) from b
"""


def _resident(process: Process) -> float:
    """The process's resident memory in MiB."""
    return float(psutil.Process(process.pid).memory_info().rss) / MIB


def test_a_worker_with_two_hundred_jobs_in_flight_stays_small(floor: Floor) -> None:
    """A worker that runs two hundred jobs at once, after thousands of others, has less than 150 MB resident."""
    floor.enqueue(*[nothing.job() for _ in range(5_000)])
    ids = floor.enqueue(*[serve_until_told.job() for _ in range(200)])
    worker = floor.worker("--queues", "default:200", lasting=True)
    floor.until_true("select count(*) = 200 from effect where what = 'begun'")
    resident = _resident(worker)
    print(f"{resident:.0f} MiB with 200 jobs in flight")
    floor.conn.execute("insert into told values (true)")
    floor.until_finished(ids)

    assert resident * MIB < 150e6


def _fill(floor: Floor, jobs: int) -> None:
    """A backlog costs a worker nothing: it starts as it would without, claims, and stays as small."""
    (first,) = floor.enqueue(nothing.job())
    worker = floor.worker("--queues", "default:5", lasting=True)
    floor.until_finished([first])
    before = _resident(worker)
    assert worker.stop() == 0
    assert floor.value(FILL, PASSED) == PASSED
    stops = floor.enqueue(*[serve_until_told.job() for _ in range(5)])  # so that the rest is there to be looked at
    assert floor.value(FILL, jobs) == jobs
    floor.conn.execute("analyze perdure.ready, perdure.job")
    worker = floor.worker("--queues", "default:5", lasting=True)
    floor.until_true("select count(*) = 5 from effect where what = 'begun' and job = any(%s)", stops)
    floor.until_true("select count(*) >= %s from perdure.history", PASSED + 1)
    held = floor.value("select coalesce(sum(cardinality(jobs)), 0) from perdure.lease")
    resident = _resident(worker)
    ready = floor.value("select count(*) from perdure.ready")
    print(f"{resident:.0f} MiB with {ready} jobs ready, {before:.0f} MiB with none")

    assert ready >= jobs - 2_000
    assert held <= 5 * 1_000
    # Prepared statements, the payloads of a few batches in flight: a constant, whatever the backlog.
    assert resident < before + 40
    floor.conn.execute("truncate perdure.ready, perdure.job, perdure.lease")
    floor.conn.execute("insert into told values (true)")
    until(lambda: worker.stop() is not None)


def test_a_backlog_costs_a_worker_nothing(floor: Floor) -> None:
    """With 100,000 jobs ready a worker starts, claims and stays within 40 MiB of one that has an empty queue [KIT-31].
    Red when a claim isn't bounded."""
    _fill(floor, 100_000)


@pytest.mark.soak
def test_a_million_jobs_cost_a_worker_nothing(floor: Floor) -> None:
    """The same with a million [KIT-31]."""
    _fill(floor, 1_000_000)
