"""What workflows, machines, unique keys and the side tables of jobs say to Postgres finds its rows by index, too.

As in ``test_plans``: the calls are those that the ops really make, recorded on a database in which 50,000 runs wait and
as many have ended, and each is explained with a generic plan, with the statistics of empty tables and with true ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from perdure import Machine, Transition, Unique
from perdure.core.op import Call, Op, rows
from perdure.fleet.ops import workers
from perdure.jobs.floors import Range
from perdure.jobs.model import JobSpec
from perdure.jobs.ops import checkpoints, chores, progress, unique, wake
from perdure.jobs.ops.attach import drop
from perdure.jobs.ops.enqueue import enqueue, enqueue_each
from perdure.jobs.ops.follow import FOLLOW_UPS, Sweep, followers
from perdure.jobs.ops.settle import BUSY_RUNS, settle
from perdure.jobs.saves import Report, Save
from perdure.machines.ops import declare, move, read
from perdure.pg.link import PLANS
from perdure.workflows.ends import RunEnd
from perdure.workflows.model import Entry, RunSpec
from perdure.workflows.ops import after, control, inbox, listing, record, start
from tests.conftest import Database
from tests.rooms.jobs.stage import Member, Stage
from tests.sql.explaining import CALLERS_HAVE, STILL, explained, nodes, recorded, walks

RUNS = 50_000
BATCH = 100
LARGE = {"job", "waiting", "run", "step", "signal", "history", "unique", "effect", "checkpoint", "progress", "follow",
         "followed", "entity"}  # fmt: skip

FILL = """
insert into perdure.queue (name) values ('default');
insert into perdure.job (id, pos, created_at, lane, task, payload)
select n, n, now(), 4096 + 5, 'flow/1', '{}' from generate_series(1, 50000) n;
insert into perdure.ready (lane, pos, id) select lane, pos, id from perdure.job where id <= 200;
insert into perdure.waiting (id, wake_at)
select id, case when id % 2 = 0 then now() + interval '1 day' + id * interval '1 second' end
from perdure.job where id > 400;
insert into perdure.held (id, reason) select n, 'diverged' from generate_series(201, 400) n;
insert into perdure.run (job, id, name, version, parent, close, paused_at, attributes)
select n, 'run:' || n, 'flow', 1, case when n % 10 = 0 then n - 1 end, case when n % 10 = 0 then 'cancel' end,
       case when n % 500 = 0 then now() end, case when n % 250 = 0 then '{"stage": "paid"}'::json end
from generate_series(1, 50000) n;
insert into perdure.history
    (id, created_at, finished_at, lease, lane, generation, attempt, rescues, outcome, task, payload)
select n, now(), now(), 1, 4101, 0, 1, 0, case when n % 250 = 0 then 'cancelled' else 'completed' end, 'flow/1', '{}'
from generate_series(50001, 100000) n;
insert into perdure.run (job, id, name, version, ended_at, completed)
select n, 'run:' || n, 'flow', 1, now(), n % 250 > 0 from generate_series(50001, 100000) n;
insert into perdure.step (run, name, seq, kind, state, attempt, ended_at, outcome)
select n, 'charge', 1, 'step', 'done', 1, now(), '1' from generate_series(1, 100000) n;
insert into perdure.step (run, name, seq, kind, state, attempt, detail)
select n, 'signal paid', 2, 'signal', 'waiting', 0, 'paid' from generate_series(1, 50000) n;
insert into perdure.signal (run, name, payload) select n, 'shipped', '1' from generate_series(1, 50000) n;
insert into perdure.unique_key (scope, key, id, until, payload)
select 'task flow', 'k' || n, n, 'done', 0 from generate_series(1, 50000) n;
insert into perdure.effect (handler, key, expires_at)
select 'flow', 'k' || n, now() + interval '1 day' from generate_series(1, 50000) n;
insert into perdure.checkpoint (job, generation, serial, version, value, saved_at, advanced_at, advanced_in)
select n, 0, 1, 1, '1', now(), now(), 0 from generate_series(1, 50000) n;
insert into perdure.progress (job, generation, n, began_n, began_at, reported_at, advanced_at)
select n, 0, 1, 0, now(), now(), now() from generate_series(1, 50000) n;
insert into perdure.follow_up (job, number, cause, spec)
select n, 0, 'success', '{}' from generate_series(201, 50000) n;
insert into perdure.followed (job, follower, cause) select n, n + 1, 'success' from generate_series(50001, 99999) n;
select setval('perdure.pos', 100000);
insert into perdure.machine (name, initial) values ('order', 'created');
insert into perdure.machine_state (machine, state, stuck_after)
values ('order', 'created', '1 day'), ('order', 'paid', '2 days');
insert into perdure.transition (machine, event, source, target) values ('order', 'pay', 'created', 'paid');
insert into perdure.entity (machine, id, state) select 'order', n::text, 'created' from generate_series(1, 50000) n;
"""

ORDER = Machine(
    "order",
    initial="created",
    transitions=[Transition("pay", "created", "paid")],
    stuck_after={"created": timedelta(days=1)},
)


@dataclass
class Large:
    """The filled database, and one recorded call of each statement."""

    stage: Stage
    calls: dict[str, Call]


def _entries(jobs: Any, names: str, seq: int, **said: Any) -> list[Entry]:
    return [
        Entry(job.id, job.generation, names, seq, "step", "done", ended_at=1.0, outcome="1", **said) for job in jobs
    ]


def _runs(stage: Stage, say: Callable[[Op[Any]], Any]) -> None:
    """What the driver of runs, their callers and the chores say, a hundred runs at a time."""
    id, incarnation = say(workers.register(name="me", host="h", pid=1, slots=10, queues=["default"]))
    member = Member(id, incarnation, {})
    jobs = stage.claim(member, BATCH)
    ids = [job.id for job in jobs]
    say(record.load(ids))
    say(record.record(_entries(jobs, "two", 3)))
    message = say(inbox.update("run:300", "decision", "1"))
    say(inbox.answer(300, 0, message, None, "1"))
    say(inbox.answered(message))
    say(record.record([Entry(ids[0], 0, "signal shipped", 4, "signal", "done", ended_at=1.0, outcome="1", taken=1)]))
    say(control.note(ids[0], 0, {"stage": "paid"}))
    say(inbox.signal("run:400", "paid", "1", "key"))
    say(inbox.signal("run:401", "shipped", "1", None))
    say(after.nudge([500]))
    say(after.sweep(BATCH))
    say(after.rouse([600]))
    parts = [jobs[first : first + 20] for first in range(0, BATCH, 20)]
    say(settle([RunEnd(job, "waiting", 0, then=after.follow) for job in parts[0]], member.id))
    say(settle([RunEnd(job, "completed", 1, result="1", then=after.follow) for job in parts[1]], member.id, sides=True))
    dead = [RunEnd(job, "dead", 1, reason="failed", text="no", then=after.follow) for job in parts[2]]
    say(settle(dead, member.id))
    held = [RunEnd(job, "held", 0, reason="paused", key=str(job.id), then=after.follow) for job in parts[3]]
    say(settle(held, member.id))
    anew = [RunEnd(job, "waiting", 0, then=after.follow, anew="{}") for job in parts[4][:1]]
    say(settle(anew, member.id))
    say(wake.rouse(BATCH))
    say(wake.alarm_probe([Range(0, 1, 2**51)]))
    spec = RunSpec(name="flow", version=1, payload="{}")
    say(start.start(spec, [f"new:{number}" for number in range(BATCH)], ["{}"] * BATCH))
    say(start.start(RunSpec(name="flow", version=1, payload="{}", queue="fresh"), ["fresh:1"], ["{}"]))
    named = [f"run:{number}" for number in range(1, BATCH)]
    say(start.find(named, ["{}"] * len(named)))
    say(start.start(spec, ["run:700"], ["{}"], conflict="replace"))
    say(start.fork(800, "charge", "fork:800"))
    say(listing.get("run:900"))
    for state in ("cancelled", *listing.STANDING):
        say(listing.page(limit=BATCH, state=state))
    say(listing.page(limit=BATCH))
    say(listing.page(limit=BATCH, attributes='{"stage": "paid"}'))
    say(control.timeline(900))
    say(control.inbox(900))
    say(control.pause(901))
    say(control.hurry(901))
    say(control.resume(901))
    say(control.place(902))
    say(after.ask(list(range(2_000, 2_000 + BATCH)), "why"))
    say(rows(control.CHILDREN, parent=1, ids=list(range(2_000, 2_000 + BATCH))))
    say(rows(BUSY_RUNS, ids=list(range(2_000, 2_000 + BATCH))))
    say(control.rewind(902, "waiting", "charge"))
    say(control.live(1_000, BATCH))
    say(control.prune(1, BATCH))


def _sides(stage: Stage, say: Callable[[Op[Any]], Any]) -> None:
    """What is said of keys, checkpoints, reports, follow-ups and entities."""
    keyed = [JobSpec(task="flow", payload="{}", unique=Unique(f"k{number}")) for number in range(2_000, 2_000 + BATCH)]
    say(enqueue_each([JobSpec(task="flow", payload="{}", unique=Unique("new"))]))
    say(enqueue_each(keyed))
    say(enqueue_each(keyed))
    say(enqueue_each([keyed[0], JobSpec(task="other", payload="{}", unique=Unique("unlike"))]))
    say(unique.release_keys(list(range(3_000, 3_000 + BATCH))))
    say(unique.sweep_keys(0, BATCH))
    say(unique.once("flow", "new", 60.0))
    say(unique.once("flow", "k1", 60.0))
    say(unique.forget_effects(BATCH))
    say(checkpoints.save([Save(number, 0, 2, 1, "2") for number in range(4_000, 4_000 + BATCH)]))
    say(checkpoints.kept(list(range(4_000, 4_000 + BATCH))))
    say(progress.report([Report(number, 0, 2, None, None) for number in range(4_000, 4_000 + BATCH)]))
    say(progress.progress(4_000))
    say(enqueue([JobSpec(task="work", payload="{}").then(JobSpec(task="work", payload="{}"))]))
    say(followers(60_000))
    say(rows(FOLLOW_UPS, jobs=list(range(4_000, 4_100)), causes=["success"] * BATCH))
    say(drop([(number, None, "death") for number in range(4_000, 4_100)]))
    say(Sweep()(BATCH, all=False))
    say(chores.sweep_sides(14, BATCH))
    say(declare.declare([ORDER]))
    say(move.create(ORDER, "new"))
    say(move.move(ORDER, "77", "pay"))
    say(read.get("order", "77"))
    say(read.list_entities("order", "created", "100", BATCH))
    say(read.history("order", "77"))
    say(read.stuck(None, BATCH))


@pytest.fixture(scope="module")
def large(new_database: Callable[[str, str], Database], template: str) -> Iterator[Large]:
    """A database with 100,000 runs, its statistics still those of the empty tables, and the recorded calls."""
    database = new_database("flows", template)
    with database.connect() as conn:
        conn.execute("vacuum analyze")
        conn.execute(STILL)
        conn.execute(FILL.encode())
    stage = Stage(database)
    calls: dict[str, Call] = {}
    stage.main.begin()
    for told in (_runs, _sides):
        told(stage, lambda op: stage.main.run(recorded(op, calls)))
    stage.main.rollback()
    yield Large(stage, calls)
    stage.close()
    database.close()


DRIVEN = [
    "workflows.ask", "workflows.pleas", "jobs.busy_runs", "workflows.children",
    "workflows.load", "workflows.record", "workflows.take", "workflows.note", "workflows.answer", "jobs.wait",
    "workflows.parents", "workflows.end", "workflows.orphans", "workflows.trouble", "workflows.renew",
    "workflows.settle_down", "workflows.stirred", "workflows.nudged", "jobs.wake", "jobs.rouse", "jobs.alarm_probe",
    "jobs.save_checkpoints", "jobs.checkpoints", "jobs.report_progress", "jobs.forget_sides", "jobs.follow_ups",
    "jobs.drop_follow_ups", "jobs.due_follow_ups", "workflows.prune", "jobs.sweep_keys", "jobs.forget_effects",
]  # fmt: skip
"""What a worker sends, for runs and their steps or as a chore."""

ASKED = [
    "workflows.start", "workflows.start_admitted", "workflows.find", "workflows.hold", "workflows.send",
    "workflows.awaiting", "workflows.answered",
    "workflows.nudge", "workflows.supersede", "workflows.origin", "workflows.fork", "workflows.timeline",
    "workflows.get", "workflows.list", "workflows.list_saying", "workflows.list_waiting", "workflows.list_paused",
    "workflows.list_parked", "workflows.list_running", "workflows.list_completed", "workflows.list_broken",
    "workflows.inbox", "workflows.pause", "workflows.resume", "workflows.hurry", "workflows.freeze", "workflows.forget",
    "workflows.live",
    "jobs.enqueue_unique_one", "jobs.enqueue_unique", "jobs.free_keys", "jobs.release_keys", "jobs.once",
    "jobs.forget_effect", "jobs.progress", "jobs.add_follow_ups", "jobs.followers", "machines.put", "machines.strays",
    "machines.put_states", "machines.put_transitions", "machines.create", "machines.move", "machines.get",
    "machines.list", "machines.history", "machines.list_stuck",
]  # fmt: skip
"""What callers send."""

BUFFERS_MAX = 6_000
"""Pages that a statement about a hundred rows may touch; the smallest of the large tables read row by row is more."""


@pytest.fixture(scope="module", params=["empty", "full"])
def known(large: Large, request: pytest.FixtureRequest) -> Large:
    """The database as it is known to the planner: what was true of the empty tables, or, from then on, what is."""
    if request.param == "full":
        large.stage.main.conn.rollback()
        large.stage.main.sql("analyze")
    return large


@pytest.mark.parametrize("name", [*DRIVEN, *ASKED])
def test_a_statement_about_runs_finds_its_rows_by_index(known: Large, name: str) -> None:
    """No statement that drives runs, or that callers send about them, about keys, checkpoints or entities, reads a
    large table from end to end or passes over what it doesn't return, whether the tables were empty or full when they
    were last analysed [DW-175, DW-183]. Red when the bound of an ordered scan is a clock that goes on ticking."""
    conn = known.stage.main.conn
    conn.rollback()
    with conn.transaction(force_rollback=True):
        conn.execute("set local plan_cache_mode = force_generic_plan")
        for setting, value in PLANS.items():
            conn.execute(f"set local {setting} = {value if name in DRIVEN else CALLERS_HAVE[setting]}")
        plan = explained(conn, known.calls[name])["Plan"]

    assert list(walks(plan, LARGE)) == []
    assert [
        node for node in nodes(plan) if node.get("Rows Removed by Filter", 0) * node["Actual Loops"] > 10 * BATCH
    ] == []
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= BUFFERS_MAX
