"""Housekeeping: done by one worker at a time, remembered when it fails, and never in the way of jobs."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from perdure.app.flows import errands
from perdure.app.registry import App
from perdure.app.worker import Worker
from perdure.core import limits
from perdure.core.op import Op, rows
from perdure.fleet import rules as fleet_rules
from perdure.fleet.ops import upkeep, workers
from perdure.jobs.ops import chores
from perdure.pg.drive import drive
from perdure.runtime.clock import monotonic
from perdure.sql import report
from tests.chaos.floor import Floor
from tests.chaos.shop import nothing
from tests.conftest import Database
from tests.rooms.worker.stage import Stage, until, working

WAITED_FOR = ["follow_ups.sweep", "runs.close"]
NAMES = [duty.name for duty in (*chores.duties(14), *errands(14).duties)]

BROKEN = """create or replace function perdure.drop_parts(parent text, days int, parts_max int) returns int
language plpgsql as $$ begin raise exception using message = 'no such luck', errcode = '{state}'; end $$"""
"""Retention that can't be carried out, of history and of the attempt log."""

ONLY_FEW = """create or replace function perdure.drop_parts(parent text, days int, parts_max int) returns int
language plpgsql as $$ begin
    if parts_max > 2 then raise exception using message = 'out of memory', errcode = '53200'; end if; return 0;
end $$"""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are tried again at once."""
    monkeypatch.setattr(limits, "CHORE_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(limits, "CHORE_PAUSE_SECONDS_MAX", 0.02)


async def _say(stage: Stage, statement: str, *params: object) -> None:
    await asyncio.to_thread(lambda: stage.conn.execute(statement.encode(), params))


async def _remembered(stage: Stage, name: str) -> Any:
    found = [chore for chore in await stage.ask(upkeep.list_chores()) if chore.name == name]
    return found[0] if found else None


async def _looked(worker: Worker, times: int) -> None:
    """Wait until the worker's looks have been taken so often."""
    seen = 0
    look = worker._chores.look

    def counted(found: Any) -> None:
        nonlocal seen
        seen += 1
        look(found)

    worker._claimer._on_look = counted
    await until(lambda: seen >= times)
    worker._claimer._on_look = look


async def test_of_eight_workers_one_does_what_is_due(stage: Stage, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight workers with a duty of half a second's period: each run begins a period after the last one ended, whoever
    does it, and none overlaps [DW-112]. Red when a worker goes by its own clock and not by the row."""
    await _say(stage, "create table run (began timestamptz, ended timestamptz)")
    note = report("server.settings", dict)
    note = type(note)(
        "test.run",
        "insert into run select clock_timestamp(), clock_timestamp() from pg_sleep(0.02) returning 1 as done",
        dict,
    )

    def run(limit: int) -> Op[int]:
        return len((yield from rows(note)))

    monkeypatch.setattr(fleet_rules, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(chores, "duties", lambda days: [chores.Duty("test.run", run, period=0.5)])
    async with AsyncExitStack() as crew:
        for _ in range(8):
            await crew.enter_async_context(working(stage.db, app, queues={"default": 1}))
        await stage.until_true("select count(*) >= 4 from run")
    gaps = await stage.rows(
        "select extract(epoch from began - lag(ended) over (order by began))::float8 from run order by began"
    )

    assert min(gap for (gap,) in gaps[1:]) >= 0.5


async def test_a_duty_is_done_though_another_worker_just_looks_at_it(
    stage: Stage, app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When a worker has begun a duty, another one has its lock for as long as it takes to see whose it is: the duty is
    done a moment later, and nobody has failed [DW-112]. Red when the worker leaves it then: its next look finds that it
    was begun and not ended, as if its worker had died of it."""
    look, tried, do = stage.db.connect(), list[str](), upkeep.do

    def doing(chore: str, *args: Any, **kwargs: Any) -> Op[Any]:
        if chore == "test.run":
            tried.append(chore)
            if len(tried) == 1:
                look.execute("begin")
                look.execute("select pg_advisory_xact_lock(hashtext('perdure.chores'), hashtext('test.run'))")
            elif len(tried) == 2:
                look.execute("rollback")
        return do(chore, *args, **kwargs)

    def run(limit: int) -> Op[int]:
        return len((yield from rows(report("server.settings", dict)))) and 1

    monkeypatch.setattr(fleet_rules, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(upkeep, "do", doing)
    monkeypatch.setattr(chores, "duties", lambda days: [chores.Duty("test.run", run, period=0.1)])
    async with working(stage.db, app):
        await until(lambda: len(tried) >= 3)
    done = await _remembered(stage, "test.run")

    assert (done.consecutive_failures, done.last_failure_at) == (0, None)
    assert "begun by a worker that is gone" not in caplog.text


async def test_a_worker_without_housekeeping_does_what_jobs_wait_for(stage: Stage, app: App) -> None:
    """With ``housekeeping`` off a worker still promotes what is due, and begins no duty; the next worker with it on
    begins them all [DW-99, DW-112]. Red when promotion belongs to the switch, or a duty doesn't."""
    async with working(stage.db, app, housekeeping=False) as worker:
        (id,) = await stage.enqueue(app.find("work").job().options(delay=0.2))
        await stage.until_in("history", id)
        await _looked(worker, 2)
        begun = [name for name in NAMES if await _remembered(stage, name) is not None]
    async with working(stage.db, app):
        await stage.until_true("select array_agg(name) @> %s from perdure.chore", NAMES)

    assert begun == []


async def test_a_chore_is_done_by_one_at_a_time_and_taken_over_from_the_dead(stage: Stage, app: App) -> None:
    """While a session holds a chore's lock a worker leaves that chore alone, without waiting for it: another chore is
    done meanwhile. When the holder dies the lock is gone with its transaction, and the worker does it [DW-113].

    Red without the try-lock, and when the lock is waited for or outlives its transaction.
    """
    holder = stage.db.connect()
    holder.execute("begin")
    assert drive(holder, upkeep.take("promote")).mine
    (due,) = await stage.enqueue(app.find("work").job().options(delay=0.2))
    async with working(stage.db, app) as worker:
        await _looked(worker, 3)
        (stranger,) = await stage.enqueue(app.find("work").job().options(delay=3_600))
        await _say(stage, "insert into perdure.cancel_request (id) values (%s)", stranger)
        (cancelled,) = await stage.until_in("history", stranger)
        waiting = await stage.job(due)
        await stage.value("select pg_terminate_backend(%s, 10000)", holder.info.backend_pid)
        await stage.until_in("history", due)

    assert (waiting.place, cancelled.outcome) == ("scheduled", "cancelled")


@pytest.mark.usefixtures("hasty")
async def test_a_failing_duty_is_parked_and_holds_nobody_up(
    stage: Stage, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """Retention that fails is tried three times, later each time, and then parked, with its error kept; jobs run, due
    ones are promoted, and the other duties are done meanwhile [OPS-73]. Red when a failure isn't counted, or ends the
    round."""
    await _say(stage, BROKEN.format(state="22000"))
    async with working(stage.db, app):
        await stage.until_true(
            "select count(*) = 2 from perdure.chore where parked_until > now() and name like '%%.drop'"
        )
        now, later = await stage.enqueue(app.find("work").job(), app.find("work").job().options(delay=0.05))
        await stage.until_in("history", now, later)
        await stage.until_true("select count(*) = %s from perdure.chore where last_started_at is not null", len(NAMES))
    failed = await _remembered(stage, "history.drop")

    assert failed.consecutive_failures == limits.CHORE_FAILURES_MAX
    assert failed.last_error == "no such luck"
    assert failed.last_success_at is None
    told = r"history\.drop failed \(3 in a row\), it is parked for (3600|35\d\d) s: no such luck"
    assert re.search(told, caplog.text) is not None
    assert (await _remembered(stage, "history.make")).consecutive_failures == 0


async def test_a_failure_outlives_the_worker_that_met_it(
    stage: Stage, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next worker knows what the last one met: it doesn't try a duty again before its time, counts on from there,
    and does it when somebody has unparked it [OPS-73]. Red when the memory isn't asked at the start."""
    for name in ("CHORE_PAUSE_SECONDS", "CHORE_PAUSE_SECONDS_MAX"):
        monkeypatch.setattr(limits, name, 3_600.0)  # no worker of these tries it a second time
    await _say(stage, BROKEN.format(state="22000"))
    async with working(stage.db, app):
        await stage.until_true("select count(*) = 2 from perdure.chore where consecutive_failures = 1")
    async with working(stage.db, app) as second:
        await until(lambda: second._chores._not_before.get("history.drop", 0.0) > 0)
        wait = second._chores._not_before["history.drop"] - monotonic()
        waited = (await _remembered(stage, "history.drop")).consecutive_failures
    await _say(stage, "update perdure.chore set due_at = now() where name = 'history.drop'")
    async with working(stage.db, app):
        await stage.until_true(
            "select exists (select from perdure.chore where name = 'history.drop' and consecutive_failures = 2)"
        )
    await _say(stage, ONLY_FEW.replace("parts_max > 2", "false"))
    assert await stage.ask(upkeep.unpark("history.drop"))
    async with working(stage.db, app):
        await stage.until_true(
            "select exists (select from perdure.chore where name = 'history.drop' and last_success_at is not null)"
        )

    assert waited == 1
    assert wait > 3_000
    assert (await _remembered(stage, "history.drop")).consecutive_failures == 0


@pytest.mark.usefixtures("hasty")
async def test_a_duty_that_is_short_of_memory_does_less_at_a_time(stage: Stage, app: App) -> None:
    """When a run fails for want of memory the next one does half as much, until it fits; then it grows again [OPS-73].
    Red when the bound isn't halved: eight at a time never fit, and it would be parked."""
    await _say(stage, ONLY_FEW)
    async with working(stage.db, app):
        await stage.until_true(
            "select exists (select from perdure.chore where name = 'history.drop' and last_success_at is not null)"
        )
    done = await _remembered(stage, "history.drop")

    assert (done.batch, done.consecutive_failures) == (4, 0)


@pytest.mark.usefixtures("hasty")
async def test_what_jobs_wait_for_is_never_parked(stage: Stage, app: App) -> None:
    """Promotion that fails again and again is counted and tried again, later each time but never parked; repaired, it
    goes on by itself. Red when every chore may be parked."""
    await _say(stage, "alter sequence perdure.pos maxvalue 100")
    due = await stage.enqueue(*[app.find("work").job().options(delay=0.2) for _ in range(60)])
    async with working(stage.db, app):
        await stage.until_true(
            "select exists (select from perdure.chore where name = 'promote' and consecutive_failures > 3)"
        )
        failed = await _remembered(stage, "promote")
        await _say(stage, "alter sequence perdure.pos no maxvalue")
        await stage.until_all_in("history", due)
        await stage.until_true(
            "select exists (select from perdure.chore where name = 'promote' and consecutive_failures = 0)"
        )

    assert failed.parked_until is None
    assert "reached maximum value of sequence" in failed.last_error


@pytest.mark.usefixtures("hasty")
async def test_a_burial_that_failed_is_forgotten_when_one_succeeds(stage: Stage, app: App) -> None:
    """What made the burial of a worker fail, a full disk say, is over: the next burial ends the failures in a row,
    which the doctor and an alert would name for ever, and the waits between them [OPS-74]. Red when a success isn't
    noted."""
    gone = "insert into perdure.worker (name, host, pid, slots, queues, expires_at) values (%s, 'h', 1, 1, '{}', now())"
    await _say(stage, gone, "lost")
    await stage.ask(upkeep.fail("bury", "no space left on device", parks=False))
    async with working(stage.db, app) as worker:
        await stage.until_true("select exists (select from perdure.worker where name = 'lost' and state = 'dead')")
        await until(lambda: worker._chores.counts["bury"] == 1)
        bury = await _remembered(stage, "bury")

    assert (bury.consecutive_failures, bury.last_error) == (0, "no space left on device")
    assert bury.last_success_at > bury.last_failure_at


async def test_a_chore_that_waits_leaves_the_loop_alone(
    stage: Stage, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While promotion waits after a failure, with a job that is overdue, the worker's loop is free: jobs run, and it is
    not tried again before its time. Red when the wait doesn't know of the pause: then the loop turns without end."""
    monkeypatch.setattr(limits, "CHORE_PAUSE_SECONDS", 60.0)
    await _say(
        stage,
        "create function broken() returns trigger language plpgsql as $$ begin raise exception 'no such luck'; end $$",
    )
    await _say(stage, "create trigger broken before delete on perdure.scheduled execute function broken()")
    await stage.enqueue(app.find("work").job().options(delay=0.2))
    async with working(stage.db, app) as worker:
        await stage.until_true(
            "select exists (select from perdure.chore where name = 'promote' and consecutive_failures = 1)"
        )
        await _looked(worker, 2)
        ids = await stage.enqueue(*[app.find("work").job() for _ in range(3)])
        await stage.until_all_in("history", ids)

    assert worker._chores.failures["promote"] == 1


@pytest.fixture
def floor(db: Database, tmp_path: Path) -> Iterator[Floor]:
    """The database with worker processes that may die."""
    made = Floor(db, tmp_path)
    yield made
    made.close()


def _only(floor: Floor, chore: str) -> None:
    """The other duties have been done, and the last worker's silence has been long enough: what it sent before it died
    has been carried out, too."""
    floor.until_true(
        "select not exists (select from pg_stat_activity where datname = current_database() "
        "and application_name like 'perdure-%%')"
    )
    floor.conn.execute("update perdure.worker set expires_at = now() - interval '1 s'")
    others = [name for name in NAMES if name != chore]
    floor.conn.execute(
        "insert into perdure.chore (name, due_at) select name, now() + interval '1 hour' from unnest(%s::text[]) name "
        "on conflict (name) do nothing",
        [others],
    )
    floor.conn.execute("update perdure.chore set due_at = now() where name = %s and parked_until is null", [chore])


def test_a_duty_that_kills_its_worker_is_parked(floor: Floor) -> None:
    """A worker that dies while it does a duty, by kill -9 and without a word, is charged to that duty by the next one:
    after three deaths it is parked, the fourth worker lives and runs jobs, and the state of background work is told
    [OPS-73, DW-113]. Red when the beginning of a run isn't committed before the run."""
    for deaths in range(limits.CHORE_FAILURES_MAX):
        _only(floor, "history.drop")
        if deaths:  # whoever asks next finds out that the last one died, and has to wait
            with floor.conn.transaction():
                assert drive(floor.conn, upkeep.begin("history.drop", 0, 3_600.0)).crashed
            _only(floor, "history.drop")
        doomed = floor.worker("--queues", "default:1", started=False, PERDURE_FAULT="chore.run:kill")
        assert doomed.wait() == -signal.SIGKILL, doomed.said()
    _only(floor, "history.drop")
    floor.worker("--queues", "default:5", PERDURE_FAULT="chore.run:kill")
    floor.until_true("select exists (select from perdure.chore where name = 'history.drop' and parked_until > now())")
    ids = floor.enqueue(*[nothing.job() for _ in range(5)])
    floor.until_finished(ids)

    assert floor.value("select last_error from perdure.chore where name = 'history.drop'").startswith("worker ")
    assert not floor.processes[-1].ended


@pytest.mark.parametrize("way", ["excused", "past"])
async def test_a_crash_loop_pauses_what_no_job_waits_for(
    stage: Stage, app: App, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Three unclean ends of workers within ten minutes: duties wait, but for those by which a job may follow another,
    while jobs run and due ones are promoted; they go on when somebody has excused the ends, or by themselves when those
    are long enough ago [OPS-76]. Red without the count of unclean ends, and when follow-ups wait for the loop's end."""
    monkeypatch.setattr(fleet_rules, "SAFE_SECONDS", 0.05)
    done = "last_success_at is not null"
    for _ in range(limits.CRASHES_MAX):
        id, _ = await stage.ask(workers.register(name="w", host="h", pid=1, slots=1, queues=["default"]))
        await _say(stage, "update perdure.worker set expires_at = now() - interval '1 s' where id = %s", id)
        assert await stage.ask(workers.declare_dead(id))
    assert (await stage.ask(workers.crashes())).safe_mode
    async with working(stage.db, app) as worker:
        await until(lambda: worker._chores.paused)
        now, later = await stage.enqueue(app.find("work").job(), app.find("work").job().options(delay=0.05))
        await stage.until_in("history", now, later)
        await stage.until_true(f"select count(*) = 2 from perdure.chore where {done} and name = any(%s)", WAITED_FOR)
        begun = await stage.value(
            "select array_agg(name order by name) from perdure.chore where last_started_at is not null"
        )
        if way == "excused":
            assert await stage.ask(workers.excuse()) == limits.CRASHES_MAX
        else:
            await _say(stage, "update perdure.worker set ended_at = ended_at - interval '11 min'")
        await stage.until_true(
            f"select count(*) = %s from perdure.chore where {done} and period is not null", len(NAMES)
        )

    assert begun == sorted(WAITED_FOR)
    assert not worker._chores.paused


async def test_a_worker_says_why_its_end_was_not_a_clean_one(stage: Stage, app: App) -> None:
    """A run's row tells when it began and ended, and whether cleanly: one whose loop broke has its cause, one that was
    stopped has none, and both count as they should towards a crash loop [OPS-76]."""
    async with working(stage.db, app):
        pass
    broken = Worker(app, stage.db.url)
    running = asyncio.create_task(broken.run())
    await broken.started.wait()
    broken._chores._attend = None  # type: ignore[method-assign,assignment]
    broken._chores._stir.set()
    with pytest.raises(TypeError):
        await running
    told = await stage.rows("select state, cause like 'a loop broke: TypeError%%' from perdure.worker order by id")

    assert told == [("left", None), ("left", True)]
    assert (await stage.ask(workers.crashes())).count == 1
