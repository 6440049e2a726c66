"""Three roles: each can do what it is for, and is refused the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from perdure import Client, Workflow
from perdure.admin import doctor, reports
from perdure.admin.model import Finding, Subject
from perdure.app.flows import errands
from perdure.app.registry import App
from perdure.core.errors import NotPermitted, QueueSaturated
from perdure.core.op import Op
from perdure.fleet.ops import upkeep
from perdure.jobs.bounds import Rule
from perdure.jobs.loops import chores as housekeeping
from perdure.jobs.model import JobSpec
from perdure.jobs.ops import chores, control
from perdure.jobs.ops.admission import declare
from perdure.jobs.ops.enqueue import enqueue, enqueue_each
from perdure.pg.cluster import Cluster
from perdure.pg.drive import drive
from perdure.workflows.model import RunSpec, Started
from perdure.workflows.ops import after, listing
from perdure.workflows.ops.start import start
from tests.cli.terminal import answer
from tests.conftest import Database
from tests.rooms.worker.stage import Stage, working

ROLES = ("producer", "worker", "support")
SPEC = JobSpec(task="work", payload="{}")


class _As(Cluster):
    """The cluster as one of its users sees it."""

    user = ""

    def url(self, database: str = "postgres") -> str:
        return super().url(database).replace("//postgres@", f"//{self.user}@")


@pytest.fixture
def users(db: Database) -> Iterator[dict[str, Database]]:
    """The database as a user of each role sees it. Users belong to the whole server, and are gone afterwards."""
    owner = db.connect()
    text = answer("schema", "--roles")
    owner.execute(text.encode())
    owner.execute(text.encode())  # it may be run again
    found = {}
    for role in ROLES:
        owner.execute(f"create role test_{role} login in role perdure_{role}".encode())
        cluster = _As(**{name: getattr(db.server.cluster, name) for name in ("binaries", "data", "sockets", "owner")})
        object.__setattr__(cluster, "user", f"test_{role}")
        found[role] = Database(replace(db.server, cluster=cluster), db.name)
    yield found
    for each in found.values():
        each.close()
    owner.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename like 'test\\_%'")
    for role in ROLES:
        owner.execute(f"drop owned by perdure_{role} cascade".encode())
        owner.execute(f"drop role test_{role}, perdure_{role}".encode())


FORBIDDEN = {
    "producer": [
        "delete from perdure.ready", "update perdure.job set payload = '{}'", "select * from perdure.attempt",
        "select perdure.make_days(3)", "select * from perdure.worker", "insert into perdure.dead values (1, 'x')",
        "update perdure.queue set paused_at = now()",
    ],
    "worker": [
        "drop table perdure.ready", "alter table perdure.job add column x int", "truncate perdure.history",
        "create table perdure.more (id int)", "delete from perdure.migration",
    ],
    "support": [
        "delete from perdure.ready", "update perdure.job set attempt = 0", "insert into perdure.dead values (1, 'x')",
        "select nextval('perdure.pos')", "select perdure.drop_days(0)", "select perdure.enqueue_v1('work', '{}')",
    ],
}  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_is_not_for_is_refused(users: dict[str, Database], role: str) -> None:
    """Each statement that a role must not send is refused for want of a privilege [DW-176]. Red when a role is granted
    more than it needs."""
    conn = users[role].connect()

    def refused(statement: str) -> str:
        with pytest.raises(psycopg.Error) as error:
            conn.execute(statement.encode())
        return type(error.value).__name__

    assert {statement: refused(statement) for statement in FORBIDDEN[role]} == dict.fromkeys(
        FORBIDDEN[role], "InsufficientPrivilege"
    )


def test_a_producer_enqueues_and_looks_up(users: dict[str, Database], db: Database) -> None:
    """A producer enqueues now and for later, into queues that are new and old, by statement and by function, and sees
    what became of its jobs; it can't cancel one [DW-176]. Red when a task whose name may be a workflow's isn't enqueued
    by one that hasn't been granted yet what workers say of theirs."""
    conn = users["producer"].connect()
    ids = drive(conn, enqueue([SPEC, SPEC.options(queue="fresh"), SPEC.options(delay=60.0, key="a", tags=["b"])]))
    ids += drive(conn, enqueue([SPEC] * 3))
    conn.execute("select perdure.enqueue_v1('work', '{}'), perdure.enqueue_v1('work/1', '{}')")
    db.connect().execute("revoke select (workflows) on perdure.worker from perdure_producer")
    conn.execute("select perdure.enqueue_v1('work/1', '{}')")
    found = [drive(conn, control.get(id)) for id in ids]

    assert [each.place for each in found if each is not None] == ["ready", "ready", "scheduled", *["ready"] * 3]
    with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
        conn.execute("select perdure.cancel_v1(%s)", [ids[0]])


def test_a_producer_uses_whatever_an_enqueue_offers(users: dict[str, Database], db: Database) -> None:
    """A producer enqueues with a unique key, meets it, and takes one that nobody needs; with follow-ups; and into
    a queue with a bound until that is full; and lists its jobs [DW-176]. Red without a grant on what these write."""
    conn = users["producer"].connect()
    drive(db.connect(), declare([Rule(name="small", max_depth=2, when_full="reject")], "a"))
    keyed = SPEC.options(unique="k", queue="small")

    (first, again), (followed,) = (
        drive(conn, enqueue_each([keyed, keyed])),
        drive(conn, enqueue_each([SPEC.then(SPEC)])),
    )
    by_sql = conn.execute("select perdure.enqueue_v1('work', '{}', queue => 'small', unique_key => 'k')").fetchone()
    with pytest.raises(QueueSaturated):
        drive(conn, enqueue([SPEC.options(queue="small")] * 2))
    db.connect().execute("select perdure.cancel_v1(%s)", [first.id])
    (after,) = drive(conn, enqueue_each([keyed]))
    listed = drive(conn, control.list_jobs(queue="small", limit=9))

    assert (first.duplicate, again.id, followed.duplicate, by_sql) == (False, first.id, False, (first.id,))
    assert {job.id for job in listed} >= {first.id, after.id}


def test_a_producer_starts_workflows(users: dict[str, Database]) -> None:
    """A producer starts runs, new ones and one that there is, and sees where their jobs stand; it sends them nothing
    [DW-176]. Red without a grant on the runs."""
    conn = users["producer"].connect()
    spec = RunSpec(name="flow", version=1, payload="{}")
    one, two = drive(conn, start(spec, ["one", "two"], ["{}", "{}"]))
    again, _ = drive(conn, start(spec, ["one", "three"], ["{}", "{}"]))

    assert (one.new, two.new, again) == (True, True, Started("one", one.job, False))
    assert {job.place for job in drive(conn, control.list_jobs(limit=9))} == {"ready"}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute("select perdure.signal_v1('one', 'paid')")


@pytest.mark.parametrize("when_full", ["delay", "spill"])
def test_a_producer_starts_workflows_that_come_later(users: dict[str, Database], db: Database, when_full: Any) -> None:
    """A full queue that delays, or lets wait in line, takes a producer's runs too, and shows them [DW-176, ARC-7].
    Red when they are written to ready first and taken out of it again."""
    drive(db.connect(), declare([Rule(name="small", max_depth=2, when_full=when_full)], "a"))
    spec = RunSpec(name="flow", version=1, payload="{}", queue="small")
    conn = users["producer"].connect()
    for ids in (["a", "b"], ["a", "c", "d"]):
        with conn.transaction():
            drive(conn, start(spec, ids, ["{}"] * len(ids)))
    found, _ = drive(conn, listing.page(limit=9))
    places = {run.id: run.place for run in found}

    assert places == {"a": "ready", "b": "ready", "c": "scheduled", "d": "scheduled"}
    assert [run.id for run in drive(conn, listing.page(limit=9, state="running"))[0]] == ["d", "c", "b", "a"]


def test_a_producer_is_told_what_it_may_not_do(users: dict[str, Database], db: Database) -> None:
    """To replace a job, and to have another one discarded for its own, is to take a job out of its place: a producer is
    refused both in one error that says who may, by the client and by enqueue_v1, and nothing is written [DW-176]. Red
    when Postgres's own words for a table come through."""
    conn, owner = users["producer"].connect(), db.connect()
    drive(owner, declare([Rule(name="small", max_depth=1, when_full="shed_lowest")], "a"))
    keyed = SPEC.options(unique="k")
    drive(conn, enqueue_each([keyed, SPEC.options(queue="small", priority=9)]))

    def refused(act: Callable[[], object]) -> str:
        with pytest.raises(Exception) as error, conn.transaction():
            act()
        found = error.value
        if isinstance(found, psycopg.errors.InsufficientPrivilege):
            return f"{found.diag.message_primary}; {found.diag.message_hint}"
        assert isinstance(found, NotPermitted)
        return str(found)

    replacing = [
        refused(lambda: drive(conn, enqueue_each([keyed.options(on_conflict="replace")]))),
        refused(
            lambda: conn.execute("select perdure.enqueue_v1('work', '{}', unique_key => 'k', on_conflict => 'replace')")
        ),
    ]
    shedding = [
        refused(lambda: drive(conn, enqueue([SPEC.options(queue="small")]))),
        refused(lambda: conn.execute("select perdure.enqueue_v1('work', '{}', queue => 'small')")),
    ]

    assert all("this database user may only add jobs; enqueue as a user that is granted" in text for text in replacing)
    assert all(
        "may not discard what is less urgent in it; enqueue as a user that is granted" in text for text in shedding
    )
    assert owner.execute("select count(*), (select count(*) from perdure.history) from perdure.job").fetchone() == (
        2,
        0,
    )


def test_support_sees_everything(users: dict[str, Database]) -> None:
    """Support reads jobs with their arguments, runs every report, and the doctor has nothing to skip [DW-176]."""
    (id,) = drive(users["producer"].connect(), enqueue([SPEC]))
    conn = users["support"].connect()
    found = drive(conn, control.get(id))
    for each in reports.catalogue():
        drive(conn, reports.answer(each))

    def ask(op: Op[list[Finding]]) -> list[Finding]:
        with conn.transaction():
            return drive(conn, op)

    subject = Subject(users["support"].url, "perdure")
    assert found is not None
    assert found.payload == {}
    assert [each for each in doctor.examine(subject, ask) if each.status == "skipped"] == []


def test_support_checks_new_code(users: dict[str, Database]) -> None:
    """Support replays the live runs over new code, as before a deploy, and leaves what they are to look up at where it
    is: a check only reads [DW-176]. Red when it is the statement by which a worker loads runs."""
    app = App("shop")

    @app.workflow
    async def flow(wf: Workflow) -> None:
        await wf.signal("go")

    worker = users["worker"].connect()
    drive(worker, start(flow.run(), ["one"], ["{}"]))
    drive(worker, after.nudge([job.id for job in drive(worker, control.list_jobs(limit=9))]))
    with Client(users["support"].url) as client:
        [found] = client.workflows.check(app)

    assert (found.id, found.problem, found.foreign) == ("one", None, False)
    assert worker.execute("select count(*) from perdure.nudge").fetchone() == (1,)


async def test_a_worker_of_its_role_works_and_keeps_house(
    users: dict[str, Database], db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that may not change the schema runs jobs and does every chore, the making and dropping of days included
    [DW-176]. Red when those aren't the owner's functions."""
    # A chore may meet the lock of somebody who looks at the jobs; then it is tried again, and not a minute later.
    monkeypatch.setattr(housekeeping, "DUTY_RETRY_SECONDS", 0.1)
    stage = Stage(db)
    app = App("a")

    @app.task
    async def work() -> str:
        return "done"

    stage.conn.execute("select perdure.drop_days(-9)")
    now, later = await stage.enqueue(work.job(), work.job().options(delay=0.05))
    async with working(users["worker"], app):
        await stage.until_in("history", now, later)
        await stage.until_true(
            "select count(*) = %s from perdure.chore where last_success_at is not null and period > '0'",
            len([*chores.duties(14), *errands(14).duties]),
        )
    failed = [chore for chore in await stage.ask(upkeep.list_chores()) if chore.consecutive_failures]

    assert failed == []
    assert await stage.value("select count(*) from pg_inherits where inhparent = 'perdure.history'::regclass") == 5
