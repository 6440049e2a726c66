"""The hot statements find their rows by index, whatever the statistics say, and touch no more than their bound.

The calls are those that the ops really make: a day's conversation is held on a database with 200,000 jobs and recorded.
Then each statement is explained as a prepared one with a generic plan, once with the statistics of a time when all
tables were empty and once with true ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from perdure.core.op import Call, Op
from perdure.fleet.ops import workers
from perdure.jobs.floors import Range
from perdure.jobs.ops import chores, control
from perdure.jobs.ops import claim as claiming
from perdure.jobs.ops import rescue as rescuing
from perdure.jobs.ops.enqueue import enqueue
from perdure.jobs.ops.leases import leases
from perdure.jobs.ops.settle import generations, held_leases, settle, traced
from perdure.jobs.work import Verdict
from perdure.pg.link import PLANS
from tests.conftest import Database
from tests.rooms.jobs.stage import Member, Stage, end
from tests.sql.explaining import CALLERS_HAVE, STILL, explained, nodes, recorded, walks

JOBS = 200_000
LARGE = {"job", "ready", "scheduled", "held", "dead", "history", "attempt"}
BATCH = 100

FILL = """
insert into perdure.queue (name) values ('default');
insert into perdure.job (id, pos, created_at, run_at, lane, task, payload)
select n, n, now(), case when n % 4 = 1 then now() + interval '1 hour' + n * interval '1 s' end, 4096 + 5, 'work', '{}'
from generate_series(1, 200000) n;
insert into perdure.ready (lane, pos, id) select lane, pos, id from perdure.job where id % 4 = 0;
insert into perdure.scheduled (run_at, id) select run_at, id from perdure.job where id % 4 = 1;
insert into perdure.held (id, reason, key)
select id, case id when 10 then 'context_missing' else 'unknown_task' end, 'other' from perdure.job where id % 8 = 2;
insert into perdure.dead (id, reason) select id, 'exhausted' from perdure.job where id % 8 = 6;
insert into perdure.worker (name, state, ended_at, expires_at, host, pid, slots, queues)
select 'w', 'dead', now(), now(), 'h', 1, 10, '{default}' from generate_series(1, 3);
insert into perdure.lease (worker, jobs, generations)
select 1 + n % 3, array_agg(id), array_agg(0)
from (select id, row_number() over (order by id) / 100 as n from perdure.job where id % 4 = 3) j group by n;
insert into perdure.history
    (id, created_at, finished_at, lease, lane, generation, attempt, rescues, outcome, task, payload)
select n, now(), now(), 1, 4101, 0, 1, 0, 'completed', 'work', '{}' from generate_series(200000 + 1, 400000) n;
insert into perdure.attempt (job, ended_at, lease, generation, attempt, ending)
select n, now(), 1, 0, 1, 'retry' from generate_series(1, 200000) n;
select setval('perdure.pos', 400000);
"""


@dataclass
class Large:
    """The filled database, and one recorded call of each statement."""

    stage: Stage
    calls: dict[str, Call]


def _a_day(stage: Stage, say: Callable[[Op[Any]], Any]) -> None:
    """What callers, a worker and its chores say, a hundred jobs at a time."""
    id, incarnation = say(workers.register(name="me", host="h", pid=1, slots=10, queues=["default"]))
    member = Member(id, incarnation, {})
    floor = member.floor(1)
    spec = stage.spec
    say(enqueue([spec]))
    say(enqueue([spec] * BATCH))
    say(enqueue([spec.options(priority=number % 10) for number in range(BATCH)]))
    say(claiming.look([floor]))
    jobs = say(stage.claiming(member, BATCH, queue=1)).jobs
    say(claiming.probe([Range(4101, 0, JOBS * 2)]))
    say(claiming.writers())
    say(workers.beat(member.id))
    say(leases(member.id))
    parts = [jobs[start : start + 15] for start in range(0, 90, 15)]
    verdicts: list[Verdict] = ["completed", "retry", "dead", "held", "returned", "crashed"]
    for part, verdict in zip(parts, verdicts, strict=True):
        say(settle([end(job, verdict) for job in part], member.id))
    say(settle([end(jobs[0]), end(jobs[1], "retry")], member.id))
    say(held_leases([job.lease.id for job in jobs], member.id))
    say(traced([end(job) for job in jobs]))
    say(generations([job.id for job in jobs]))
    say(chores.promote(BATCH))
    say(chores.due_writers())
    say(chores.due_probe([Range(0, 1, 2**51)]))
    say(chores.release(["work", "other"], BATCH))
    say(rescuing.rescue())
    say(rescuing.close_leases())
    for id in (1, 2, JOBS - 1, 8):
        say(control.cancel(id))
    say(control.retry(5))
    assert say(control.retry(10))
    say(control.redrive(14))
    say(control.discard(14))
    say(chores.sweep_cancels(BATCH))
    say(control.get(9))
    say(control.get(JOBS + 9))
    say(control.attempts(9))
    say(control.list_jobs(limit=BATCH))
    keyed = [spec.options(unique=f"key:{number}") for number in range(2 * BATCH + 1)]
    say(enqueue(keyed[:1]))
    say(enqueue(keyed[1 : BATCH + 1]))
    say(enqueue([each.options(priority=place % 10) for place, each in enumerate(keyed[BATCH + 1 :])]))


@pytest.fixture(scope="module")
def large(new_database: Callable[[str, str], Database], template: str) -> Iterator[Large]:
    """A database with 200,000 jobs, its statistics still those of the empty tables, and the recorded calls."""
    database = new_database("large", template)
    with database.connect() as conn:
        conn.execute("vacuum analyze")
        conn.execute(STILL)
        conn.execute(FILL.encode())
    stage = Stage(database)
    calls: dict[str, Call] = {}
    stage.main.begin()
    _a_day(stage, lambda op: stage.main.run(recorded(op, calls)))
    stage.main.rollback()
    filtered: dict[str, Call] = {}
    stage.main.run(recorded(control.list_jobs(place="ready", queue="default", limit=BATCH), filtered))
    yield Large(stage, calls | {"jobs.list, filtered": filtered["jobs.list"]})
    stage.close()
    database.close()


HOT = [
    "jobs.claim", "jobs.look", "jobs.probe", "jobs.finish", "jobs.reschedule", "jobs.bury", "jobs.park",
    "jobs.give_back", "jobs.isolate", "jobs.held_leases",
    "jobs.lock", "jobs.traces", "jobs.generations", "jobs.leases", "jobs.rescue", "jobs.close_lease",
    "jobs.promote", "jobs.due_probe", "jobs.release", "jobs.cancels", "jobs.forget_cancels", "fleet.beat",
]  # fmt: skip
"""What a worker sends, over connections whose plans are pinned (``PLANS``)."""

CALLERS = [
    "jobs.enqueue", "jobs.enqueue_one", "jobs.enqueue_alike", "jobs.unseat", "jobs.cancel", "jobs.request_cancel",
    "jobs.redrive", "jobs.hurry", "jobs.let_go", "jobs.discard", "jobs.get", "jobs.attempts", "jobs.list",
    "jobs.list, filtered", "jobs.enqueue_unique", "jobs.enqueue_unique_alike", "jobs.enqueue_unique_one",
]  # fmt: skip
"""What callers send, over connections that are theirs."""

BUFFERS_MAX = 6_000
"""Pages that a statement about a hundred jobs may touch, 60 for each. Probing an index for every row of the smallest of
the large tables touches ten times as many."""


@pytest.fixture(scope="module", params=["empty", "full"])
def known(large: Large, request: pytest.FixtureRequest) -> Large:
    """The database as it is known to the planner: what was true of the empty tables, or, from then on, what is."""
    if request.param == "full":
        large.stage.main.conn.rollback()
        large.stage.main.sql("analyze")
    return large


@pytest.mark.parametrize("name", [*HOT, *CALLERS])
def test_a_hot_statement_finds_its_rows_by_index(known: Large, name: str) -> None:
    """No statement of the hot path reads a large table from end to end, and each touches a number of pages that its
    batch bounds, whether the tables were empty or full when they were last analysed [DW-175, DW-183]."""
    conn = known.stage.main.conn
    conn.rollback()
    with conn.transaction(force_rollback=True):
        conn.execute("set local plan_cache_mode = force_generic_plan")
        for setting, value in PLANS.items():
            conn.execute(f"set local {setting} = {value if name in HOT else CALLERS_HAVE[setting]}")
        plan = explained(conn, known.calls[name])

    assert list(walks(plan["Plan"], LARGE)) == []
    touched = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    assert touched <= BUFFERS_MAX


def test_a_promotion_reads_nothing_that_is_not_due(large: Large) -> None:
    """With 50,000 jobs due later a promotion's scan ends at the moment it began, and meets none of them. Red when the
    bound is a clock that goes on ticking: that can't end a scan of an index."""
    conn = large.stage.main.conn
    conn.rollback()
    with conn.transaction(force_rollback=True):
        for setting, value in PLANS.items():
            conn.execute(f"set local {setting} = {value}".encode())
        plan = explained(conn, large.calls["jobs.promote"])
    scans = [node for node in nodes(plan["Plan"]) if node.get("Index Name") == "scheduled_pkey"]

    assert scans
    assert [node for node in scans if node.get("Rows Removed by Filter", 0) > BATCH] == []
