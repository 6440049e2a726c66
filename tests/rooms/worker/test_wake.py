"""How a worker learns of work: notified while it sleeps, awake when something is due, and by polling whatever happens.

Where a test asks who woke the worker, the idle poll is put an hour away, so that only the one in question can have.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from perdure.app.registry import App
from perdure.app.worker import Worker
from perdure.core import limits
from perdure.core.op import Op
from perdure.jobs.ops import enqueue, queues
from perdure.jobs.ops.sleep import rise, sleep
from perdure.pg.drive import drive
from perdure.pg.listen import Listener
from perdure.pg.migrate import migrate
from perdure.runtime.clock import monotonic
from tests.conftest import Database, NewServer
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working


@pytest.fixture
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an idle worker poll once an hour."""
    monkeypatch.setattr(limits, "POLL_IDLE_SECONDS", 3_600.0)


async def asleep(worker: Worker, *, listens: bool = True) -> None:
    """Wait until the worker has put up its sign, if it listens, looked once more and found nothing. A listener that has
    put up what was told before it was there says so by a hurry."""
    claimer = worker._claimer
    await until(lambda: claimer.asleep and claimer._slept_at and worker._listener.up == listens and not claimer._watch)
    await until(lambda: claimer.wakeups > 0 or not listens)
    claims = claimer.claims
    await until(lambda: worker._claimer.claims > claims or not worker._intakes[0].wet)


def listening(stage: Stage) -> psycopg.Connection[Any]:
    """A session that hears what workers hear, and a mark."""
    session = stage.db.connect()
    session.execute("listen perdure")
    session.execute("listen mark")
    return session


async def told(stage: Stage, listener: psycopg.Connection[Any]) -> list[str]:
    """The channels of what was notified to the listener so far: they come in the order of the commits, so a mark that
    is notified now comes after all of them."""
    await stage.value("select pg_notify('mark', '')")

    def channels() -> Iterator[str]:
        for notify in listener.notifies(timeout=BOUND_SECONDS):
            if notify.channel == "mark":
                return
            yield notify.channel
        raise AssertionError("the mark didn't come")

    return await asyncio.to_thread(lambda: list(channels()))


@pytest.mark.usefixtures("no_poll")
async def test_a_sleeping_worker_is_notified_of_a_commit(stage: Stage, app: App) -> None:
    """A job committed while the worker sleeps is started although no poll is due for an hour [DW-118]. Red without the
    notification, or without the sleeper's sign."""
    async with working(stage.db, app) as worker:
        for _ in range(5):
            await asleep(worker)
            (id,) = await stage.enqueue(app.find("work").job())
            await stage.until_in("history", id)


async def test_only_sleepers_are_notified(stage: Stage, app: App) -> None:
    """A commit notifies nobody while every worker is busy, and does when one sleeps: a notification holds a lock of the
    whole cluster over the commit's flush [DW-121]. Red when ``wake`` notifies always."""
    running, go = asyncio.Event(), asyncio.Event()

    @app.task
    async def wait() -> None:
        running.set()
        await go.wait()

    listener = listening(stage)
    await stage.enqueue(wait.job())
    async with working(stage.db, app, queues={"default": 1}) as worker:
        await asyncio.wait_for(running.wait(), BOUND_SECONDS)
        await stage.until_true(  # its sign is down
            "select not exists (select from pg_locks where locktype = 'advisory' and mode = 'ShareLock' "
            "and database = (select oid from pg_database where datname = current_database()))"
        )
        ids = await stage.enqueue(*[app.find("work").job() for _ in range(3)])
        while_busy = await told(stage, listener)
        go.set()
        await stage.until_all_in("history", ids)
        await asleep(worker)
        await stage.enqueue(app.find("work").job())
        while_asleep = await told(stage, listener)

    assert (while_busy, while_asleep) == ([], ["perdure"])


@pytest.mark.usefixtures("no_poll")
async def test_a_commit_that_overlaps_falling_asleep_is_not_missed(stage: Stage, app: App) -> None:
    """A transaction that tested for sleepers before the worker slept, and commits when it sleeps, notifies nobody; its
    job is started all the same, because the worker watches the writers it saw. Red without the list of writers."""
    await stage.ask(queues.ensure(["default"]))
    late = stage.db.connect()
    late.autocommit = False
    (id,) = drive(late, enqueue.enqueue([app.find("work").job()]))
    async with working(stage.db, app) as worker:
        await until(lambda: worker._claimer.asleep and worker._claimer._watch)
        late.commit()
        await stage.until_in("history", id)


@pytest.mark.usefixtures("no_poll")
async def test_a_job_is_started_when_it_is_due(stage: Stage, app: App) -> None:
    """A delayed job that the worker has seen once is started when it is due, not before, although nothing notifies at
    that moment and no poll comes [DW-15, DW-120]. Red without the timer on the next due time."""
    (id,) = await stage.enqueue(app.find("work").job().options(delay=timedelta(seconds=1.5)))
    due = (await stage.job(id)).run_at
    async with working(stage.db, app):
        (job,) = await stage.until_in("history", id)

    assert due is not None
    assert job.started_at is not None
    assert job.started_at >= due
    print(f"started {(job.started_at - due).total_seconds() * 1000:.0f} ms after it was due")


async def test_a_job_that_is_due_soon_hurries_nobody_else(stage: Stage, app: App) -> None:
    """A job due in an hour is not started and keeps no worker from sleeping; one given a moment that has passed is
    ready at once [DW-15]."""
    later, now = await stage.enqueue(
        app.find("work").job().options(delay=timedelta(hours=1)),
        app.find("work").job().options(run_at=datetime.now(UTC) - timedelta(hours=1)),
    )
    async with working(stage.db, app) as worker:
        await stage.until_in("history", now)
        await asleep(worker)

    assert (await stage.job(later)).place == "scheduled"


@pytest.mark.usefixtures("no_poll")
async def test_a_listener_whose_session_ends_listens_again(stage: Stage, app: App) -> None:
    """When the server ends the listening session the worker opens another, puts its sign up again and is notified as
    before [DW-119]. Red when the sign isn't restored on the new session."""
    async with working(stage.db, app) as worker:
        await asleep(worker)
        conn: Any = worker._listener._conn
        old = conn.get_server_pid()
        await stage.value("select pg_terminate_backend(%s, 10000)", old)
        await until(lambda: worker._listener.up and worker._listener._conn is not conn)
        await stage.until_true(
            "select exists (select from pg_locks where locktype = 'advisory' and mode = 'ShareLock' and pid <> %s)", old
        )
        (id,) = await stage.enqueue(app.find("work").job())
        await stage.until_in("history", id)


async def test_a_listener_whose_driver_is_out_of_step_listens_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that ends just as it begins to listen may leave its driver in the middle of an operation; the listener
    opens another one. Red when it answers for what Postgres says only: its worker ends with "a loop broke"."""
    connect, tried = Listener._connect, []

    async def out_of_step(self: Listener) -> None:
        tried.append(1)
        if len(tried) == 1:
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
        await connect(self)

    monkeypatch.setattr(Listener, "_connect", out_of_step)
    listener = Listener(db.url, "perdure", on_notify=lambda _: None, on_connect=rise, jittered=lambda seconds: seconds)
    running = asyncio.create_task(listener.run())
    await until(lambda: listener.up or running.done())
    up = listener.up
    running.cancel()
    await listener.close()

    assert (up, len(tried)) == (True, 2)


async def test_a_sign_that_somebody_keeps_for_himself_holds_up_nobody(stage: Stage, app: App) -> None:
    """A session that keeps the writer's side of the sign is a nuisance at most: sleepers neither wait for it nor lose
    their listening session, others' commits notify all the same, and its own are polled for. Red when putting up the
    sign waits for a lock."""
    queue = (await stage.ask(queues.ensure(["default"])))["default"]
    stuck = stage.db.connect()
    stuck.execute("select pg_advisory_lock(hashtext('perdure.sleepers'), %s)", [queue])
    async with working(stage.db, app) as worker:
        await asleep(worker)
        conn = worker._listener._conn
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ShareLock'"
        for session in (stage.conn, stuck):
            (id,) = drive(session, enqueue.enqueue([app.find("work").job()]))
            await stage.until_in("history", id)
            await asleep(worker)
            assert await stage.value(waiting) == 0
        stuck.execute("select pg_advisory_unlock_all()")
        (id,) = await stage.enqueue(app.find("work").job())
        await stage.until_in("history", id)
        await asleep(worker)
        await stage.until_true(f"select ({waiting}) = 1")
        assert worker._listener._conn is conn


async def test_a_listener_that_reconnects_leaves_no_sign_of_a_worker_that_rose(db: Database) -> None:
    """A worker that rises while its new listening session is putting up the sign has none up afterwards: what is told
    meanwhile is said after it. Red when a session counts as up only once its state is restored, or one sign is left."""
    told: list[asyncio.Task[int | None]] = []
    conn = db.connect()

    def restored() -> Op[int]:
        told.append(asyncio.ensure_future(listener.tell(rise())))
        return twice()

    def twice() -> Op[int]:
        yield from sleep([7])
        return (yield from sleep([7]))

    listener = Listener(
        db.url, "perdure", on_notify=lambda _: None, on_connect=restored, jittered=lambda seconds: seconds
    )
    running = asyncio.create_task(listener.run())
    await until(lambda: bool(told) and told[0].done())
    signs = conn.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone()
    running.cancel()
    await listener.close()

    assert told[0].result() is not None
    assert signs == (0,)


def test_a_writer_keeps_no_lock_of_the_sign(db: Database) -> None:
    """Whether somebody sleeps or nobody, testing the sign leaves nothing locked in the writer's session; the test and
    the letting go are one expression, which a cancelled statement can't part."""
    writer, sleeper = db.connect(), db.connect()
    source = str(writer.execute("select prosrc from pg_proc where proname = 'wake'").fetchone())
    told = [writer.execute("select perdure.wake(7)").fetchone()]
    drive(sleeper, sleep([7, 8]))
    told.append(writer.execute("select perdure.wake(7)").fetchone())
    drive(sleeper, rise())
    told.append(writer.execute("select perdure.wake(7)").fetchone())

    assert told == [(False,), (True,), (False,)]
    assert writer.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone() == (0,)
    assert source.count("perform") == 1


async def test_polling_alone_suffices(stage: Stage, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a listener that never gets a session, and callers that notify nobody, every job is still found by the poll
    [DW-118, DW-119]. Red when a claim waits for a notification, or a worker that sleeps doesn't poll."""

    async def refused(self: Listener) -> None:
        raise OSError("no route to the listener's session")

    monkeypatch.setattr(Listener, "_connect", refused)
    async with working(stage.db, app) as worker:
        for _ in range(3):
            await asleep(worker, listens=False)
            (id,) = await stage.ask(enqueue.enqueue([app.find("work").job()], wake=False))
            await stage.until_in("history", id)
        assert not worker._listener.up


async def test_a_worker_that_is_told_not_to_listen_polls(stage: Stage, app: App) -> None:
    """With ``listen`` off a worker has no listening session, puts up no sign, so nobody is notified for it, and finds
    its jobs by polling [DW-99, DW-118]. Red when the switch is only half off: a sign nobody hears of costs every commit
    a notification."""
    watcher = listening(stage)
    async with working(stage.db, app, listen=False) as worker:
        await asleep(worker, listens=False)
        (id,) = await stage.enqueue(app.find("work").job())
        await stage.until_in("history", id)
        sessions = await stage.value("select count(*) from pg_stat_activity where application_name ~ '^perdure-listen'")
    notified = await told(stage, watcher)

    assert (sessions, notified, worker._claimer.wakeups) == (0, [], 0)


async def test_many_jobs_at_once_cost_few_claims(stage: Stage, app: App) -> None:
    """Ten thousand jobs in one commit, with several idle workers: each is notified once for a statement, a claim takes
    what its worker has room for, and who comes too late asks once and sleeps again, so claims are bounded by the jobs
    and the workers, not their product [DW-121]. Red when every job notifies, or an empty claim is tried again."""
    jobs, workers, slots = 10_000, 4, 50
    specs = [app.find("work").job()] * jobs
    async with AsyncExitStack() as closing:
        crew = [await closing.enter_async_context(working(stage.db, app, queues={"default": slots})) for _ in range(4)]
        for worker in crew:
            await asleep(worker)
        began = [(w._claimer.wakeups, w._claimer.claims, w._claimer.empty) for w in crew]
        await stage.enqueue(*specs)
        await stage.until_true("select count(*) = %s from perdure.history", jobs)
        for worker in crew:
            await asleep(worker)
        ended = [(w._claimer.wakeups, w._claimer.claims, w._claimer.empty) for w in crew]
    wakeups, claims, empty = ([b[i] - a[i] for a, b in zip(began, ended, strict=True)] for i in range(3))
    print(f"{jobs:,} jobs, {workers} idle workers: notified {wakeups} times, {claims} claims, {empty} of them empty")

    assert max(wakeups) <= 2
    assert sum(claims) - sum(empty) <= jobs / slots
    assert max(empty) <= 10


async def test_a_paused_queue_is_left_alone_and_resumed(stage: Stage, app: App) -> None:
    """Nothing is claimed from a paused queue, by notification or poll, while another queue goes on; resumed, its jobs
    run."""
    await stage.ask(queues.ensure(["mail"]))
    await stage.ask(queues.pause("mail"))
    (paused,) = await stage.enqueue(app.find("work").job().options(queue="mail"))
    async with working(stage.db, app, queues={"mail": 2, "default": 2}):
        for _ in range(3):
            (other,) = await stage.enqueue(app.find("work").job())
            await stage.until_in("history", other)
        place = (await stage.job(paused)).place
        await stage.ask(queues.resume("mail"))
        await stage.until_in("history", paused)

    assert place == "ready"


@pytest.fixture
def logged(new_server: NewServer) -> Iterator[tuple[Database, Path]]:
    """A migrated database on a server that logs every statement, and the log."""
    with new_server(log_statement="all", log_line_prefix="%a|%d|") as server:
        with server.connect() as conn:
            migrate(conn)
        database = Database(server, "postgres")
        yield database, server.cluster.log
        database.close()


async def test_an_idle_worker_sends_two_statements_a_second(
    logged: tuple[Database, Path], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle worker sends a beat and a look a second, and nothing else: counted in the server's own log over six
    beats; so N idle workers ask 2 N statements a second [DW-182]. Red when the claimer goes on listing writers, polls
    more often than once a second, or looks only when a beat has run out, which is half as often as is asked here."""
    monkeypatch.setattr(limits, "SAMPLE_UNBOUNDED_SECONDS", 0.1)  # when a job has ended its queue is counted once more
    db, log = logged
    stage = Stage(db)
    (id,) = await stage.enqueue(app.find("work").job())
    async with working(db, app) as worker:
        await stage.until_in("history", id)
        await asleep(worker)
        await until(lambda: not any(intake.floor.open for intake in worker._intakes))
        for due in (worker._chores.due, worker._chores.alarm):
            await until(lambda due=due: not due.open and due.start >= (due._consumed_at or inf))  # type: ignore[misc]
        counted, chores = worker._sampler._watched, worker._chores
        await until(lambda: all(queue.ended == queue.intake.runner.ended for queue in counted))
        await until(lambda: all(chores._at(duty) > monotonic() + 60 for duty in chores._duties))
        loop = asyncio.get_running_loop()
        beats = re.compile(r"^perdure-beat [^|]*\|postgres\|.*(?:execute|statement)", re.MULTILINE)
        began = loop.time()
        told = log.stat().st_size
        await until(lambda: len(beats.findall(log.read_text()[told:])) >= 6)
        text = log.read_text()[told:]
        window = loop.time() - began
    statements = re.findall(r"^(perdure-\w+)[^|]*\|postgres\|.*?(?:execute[^:]*|statement): (.*)", text, re.MULTILINE)
    by_purpose = {name: sum(purpose == name for purpose, _ in statements) for name, _ in statements}
    print(f"{len(statements)} statements in {window:.1f} s: {by_purpose}")

    assert by_purpose["perdure-beat"] >= 6
    assert by_purpose["perdure-claim"] >= 3
    # Two clocks of one second each: in any window each ticks at most once more than it has seconds.
    assert len(statements) <= 2 * (window + 1)
