"""A job that runs twice takes effect once: the means there are for that, under a second run that is forced."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
import pytest

from perdure import Context, Unique
from perdure.core.errors import InvalidOption
from perdure.core.op import rows
from perdure.demo import ops, shop
from perdure.jobs.model import JobSpec
from perdure.jobs.ops.unique import Sweep, forget_effects, once
from perdure.jobs.work import Claimed, Lease
from perdure.pg.drive import drive
from tests.rooms.worker import twice
from tests.rooms.worker.stage import Stage, until, working


@pytest.fixture
def effects(stage: Stage) -> Stage:
    """What handlers leave behind: rows of the application's, requests at a provider, a store with a fence."""
    stage.conn.execute("create table effect (job bigint not null)")
    stage.conn.execute("create table request (key text primary key)")
    stage.conn.execute("create table store (fence int not null, writes int not null)")
    stage.conn.execute("create table tried (fence int not null, written int not null)")
    stage.conn.execute("insert into store values (0, 0)")
    return stage


async def run_twice(stage: Stage, spec: JobSpec) -> int:
    """Run a job to the end of its handler, lose its worker before the end is recorded, and let another one run it
    again, as whoever has to be safe to run twice must expect. Its id, once it has completed."""
    ended: list[int] = []
    async with working(stage.db, twice.app) as lost:
        for runner in lost._runners:
            runner._settle = lambda end: ended.append(end.job.id)
        (id,) = await stage.enqueue(spec)
        await until(lambda: ended == [id])
    async with working(stage.db, twice.app):
        (job,) = await stage.until_in("history", id)
    assert (job.outcome, job.generation) == ("completed", 1)
    return id


@pytest.mark.parametrize(
    ("task", "effect", "times"),
    [
        (twice.by_nothing, "select count(*) from effect", 2),
        (twice.by_once, "select count(*) from effect", 1),
        (twice.by_the_provider, "select count(*) from request", 1),
    ],
    ids=["by nothing", "by once", "by the provider"],
)
async def test_a_job_that_runs_twice_takes_effect_once(effects: Stage, task: Any, effect: str, times: int) -> None:
    """A handler whose worker is lost between its effect and the end of its job runs twice; one that asks ``once`` in
    its transaction, or gives ``ctx.idempotency_key`` to its provider, has one effect, and one that does neither has
    two [DW-48, DW-49, DW-70]. Red when the note isn't in the effect's transaction, and when the key changes with the
    run."""
    await run_twice(effects, task.job(effects.db.url))

    assert await effects.value(effect) == times


async def test_a_store_that_keeps_the_fence_refuses_a_frozen_run(effects: Stage) -> None:
    """While a handler is as good as frozen its worker is declared dead and the job runs elsewhere, under a higher
    generation; what the first one then writes under its own is refused by a store that keeps the highest it has seen
    [DW-107, DW-70]. Red when rescue doesn't move the generation on."""
    (id,) = await effects.enqueue(twice.by_the_fence.job(effects.db.url))
    async with working(effects.db, twice.app) as worker:
        await effects.until_true("select exists (select from pg_stat_activity where query ~ '^select fence')")
        dead = "update perdure.worker set state = 'dead', ended_at = now() where id = %s returning id"
        await effects.rows(dead, worker.id)
        await effects.until_in("history", id)
        await effects.until_true("select count(*) = 2 from tried")

    assert await effects.rows("select fence, writes from store") == [(1, 1)]
    assert await effects.rows("select fence, written from tried order by fence") == [(0, 0), (1, 1)]


async def test_the_shop_of_the_demonstration_may_run_twice(effects: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler that ships with the demonstration, called twice for one job, sends one receipt [DW-48]. Red when it
    writes unconditionally."""
    monkeypatch.setenv("DATABASE_URL", effects.db.url)
    monkeypatch.setenv("PERDURE_SCHEMA", "perdure")
    monkeypatch.setattr(shop, "_links", [])
    for table in (ops.CREATE_RUNS, ops.CREATE_RECEIPTS):
        drive(effects.conn, rows(table))
    for generation in (0, 1):
        job = Claimed(9182, generation, Lease(1, 1), 1, "send_receipt", msgspec.Raw(b"{}"), datetime.now(UTC))
        await shop.send_receipt.function(order_id=7, writing=0.0, confirming=0.0, ctx=Context(job))
    await shop.shop().close()

    assert await effects.value("select count(*) from perdure.demo_run") == 2
    assert await effects.value("select count(*) from perdure.demo_receipt") == 1


def test_what_was_done_once_is_remembered_for_its_lifetime(stage: Stage) -> None:
    """A key is new for each handler, known until its lifetime is over, new again after that, and swept then. Red when
    an expired note still counts."""
    conn = stage.conn
    first = [drive(conn, once("a", "k", 60)), drive(conn, once("a", "k", 60)), drive(conn, once("b", "k", 60))]
    conn.execute("update perdure.effect set expires_at = now() - interval '1 s' where handler = 'a'")
    again = [drive(conn, once("a", "k", 60)), drive(conn, once("a", "k", 60))]
    conn.execute("update perdure.effect set expires_at = now() - interval '1 s'")

    assert first == [True, False, True]
    assert again == [True, False]
    assert drive(conn, forget_effects(1)) == 1
    assert drive(conn, forget_effects()) == 1
    assert drive(conn, forget_effects()) == 0


def test_who_asks_at_the_same_moment_waits_for_the_first_one(stage: Stage) -> None:
    """Two handlers ask for one key: the second hears once the first one's transaction has ended, and is the first one
    itself if that was rolled back. Red when the note is looked for before it is written."""
    first, second = stage.db.connect(), stage.db.connect(options="-c lock_timeout=100ms")
    first.execute("begin")
    assert drive(first, once("a", "k", 60))
    with pytest.raises(Exception, match="lock timeout"):
        drive(second, once("a", "k", 60))
    first.execute("rollback")

    assert drive(second, once("a", "k", 60))


@pytest.mark.parametrize(("key", "lifetime"), [("", 60), ("k" * 256, 60), ("k", 0), ("k", -1), (9182, 60)])
def test_what_can_not_be_remembered_is_refused(stage: Stage, key: Any, lifetime: Any) -> None:
    """A key that is no short text, and a lifetime of nothing, are refused by name."""
    job = Claimed(1, 0, Lease(1, 1), 1, "t", msgspec.Raw(b"{}"), datetime.now(UTC))
    ctx = Context(job, desk=_Desk())  # type: ignore[arg-type]
    with psycopg.connect(stage.db.url) as conn, pytest.raises(InvalidOption) as caught:
        ctx.on(conn).once(key, lifetime=lifetime)

    assert (caught.value.field, bool(caught.value.fix)) == ("once" if lifetime == 60 else "lifetime", True)


class _Desk:
    schema = "perdure"
    books = None


async def test_the_sweeps_are_somebody_s_duty(stage: Stage) -> None:
    """A worker drops keys and notes that nobody needs any more, without being asked. Red when either is no duty."""
    (id,) = await stage.enqueue(JobSpec(task="gone", payload="{}", unique=Unique("k", until="expired", lifetime=60)))
    stage.conn.execute("update perdure.unique_key set expires_at = now() - interval '1 s'")
    stage.conn.execute("insert into perdure.effect values ('h', 'k', now() - interval '1 s')")
    async with working(stage.db, twice.app):
        await stage.until_true(
            "select not exists (select from perdure.unique_key) and not exists (select from perdure.effect)"
        )

    assert id


def test_the_sweep_goes_on_where_it_was(stage: Stage) -> None:
    """Keys are swept in batches, and the next sweep begins at the front again. Red when a batch of keys that are all
    needed ends the sweep."""
    stage.conn.execute("insert into perdure.unique_key select 's', n, n, 'done', null, 0 from generate_series(1, 5) n")
    stage.conn.execute(
        "insert into perdure.job (id, pos, created_at, lane, task, payload) "
        "select n, n, now(), 4096, 't', '{}' from generate_series(1, 3) n"
    )
    sweep = Sweep()

    assert [drive(stage.conn, sweep(2)) for _ in range(3)] == [2, 2, 1]
    assert stage.conn.execute("select array_agg(id order by id) from perdure.unique_key").fetchone() == ([1, 2, 3],)
