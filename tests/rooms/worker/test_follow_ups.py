"""Follow-ups: enqueued by the transaction that ends the job before them, once, whoever ends it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from perdure import context
from perdure.admin.doctor import chains
from perdure.admin.explain import explain
from perdure.admin.model import Subject
from perdure.app.client import AsyncClient, Client
from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from perdure.core.endings import Cancel, Permanent
from perdure.core.errors import JobFailed, QueueSaturated, WaitTimeout
from perdure.jobs.model import chain
from perdure.jobs.ops import chores, follow
from perdure.jobs.unique import Unique
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

ONCE = Retry(max_attempts=1)
SETTLER_WAITS = (
    "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' "
    "and application_name like 'perdure-settle%%')"
)
LEFT = "select count(*) from perdure.follow_up"


def _app() -> tuple[App, list[tuple[str, str | None, str | None]]]:
    """An app whose jobs note what they were called, and their context."""
    app, ran = App("a"), list[tuple[str, str | None, str | None]]()

    @app.task(retry=ONCE)
    async def note(ctx: Context, name: str) -> str:
        ran.append((name, ctx.context.tenant, ctx.context.causation_id))
        return name

    @app.task(retry=ONCE)
    async def fail(name: str) -> None:
        ran.append((name, None, None))
        raise Permanent("on purpose")

    @app.task
    async def stop(name: str) -> None:
        ran.append((name, None, None))
        raise Cancel("not wanted")

    @app.task(retry=ONCE)
    async def together(ctx: Context) -> None:
        ran.append(("together", None, None))
        async with ctx.transaction() as tx:
            await tx.connection.execute("select 1")

    return app, ran


async def test_a_chain_runs_in_order_each_in_the_context_of_the_first(stage: Stage) -> None:
    """Each job of a chain is enqueued when the one before it has completed, inherits its context, names it as its
    cause, and nothing is left of the chain; a job whose end is in its handler's own transaction is no different. Red
    when a settlement leaves its follow-ups, or their context, behind."""
    app, ran = _app()
    note, together = app.find("note"), app.find("together")
    client = Client(stage.db.url)

    with context.bind(tenant="acme"):
        first = await asyncio.to_thread(
            client.jobs.enqueue,
            chain(note.job("first"), note.job("second").options(queue="default"), together.job(), note.job("last")),
        )
    async with working(stage.db, app):
        last = await asyncio.to_thread(client.jobs.wait_chain, first.id, timeout=BOUND_SECONDS)
    client.close()
    assert (last, await stage.value("select count(*) from perdure.history")) == ("last", 4)
    ids = [id for (id,) in await stage.rows("select id from perdure.history order by id")]

    assert [name for name, *_ in ran] == ["first", "second", "together", "last"]
    assert [tenant for name, tenant, _ in ran if name != "together"] == ["acme"] * 3
    assert ran[0][2] is None
    assert ran[1][2] == f"job:{first.id}"
    assert ran[3][2] == f"job:{ids[2]}"
    assert await stage.value(LEFT) == 0


async def test_the_end_decides_which_follow_ups_are_enqueued(stage: Stage) -> None:
    """A completed job enqueues what waits for success, a dead one what waits for its death; a cancelled or expired one
    drops both. A dead one keeps what waits for its success, for a redrive. Red when an end fires what waits for another
    one."""
    app, ran = _app()
    note, fail, stop = app.find("note"), app.find("fail"), app.find("stop")

    def both(name: str) -> tuple[object, object]:
        return note.job(f"{name} success"), note.job(f"{name} death")

    good, bad = note.job("good"), fail.job("bad")
    async with AsyncClient(stage.db.url) as client:
        for job in (good, bad, stop.job("stopped"), note.job("late").options(expires=timedelta(microseconds=1))):
            success, death = both(str(job.payload))
            await client.jobs.enqueue(job.then(success).on_death(death))  # type: ignore[arg-type]
    async with working(stage.db, app):
        await stage.until_true("select count(*) = 5 and not exists (select from perdure.ready) from perdure.history")

    names = [name for name, *_ in ran]
    assert sorted(names) == sorted([
        "good", "bad", "stopped", '{"name":"good"} success', '{"name":"bad"} death'
    ])  # fmt: skip
    assert await stage.rows("select cause from perdure.follow_up") == [("success",)]
    assert await stage.counts() == {"dead": 1, "history": 5}


async def test_a_redriven_job_that_completes_enqueues_what_waits_for_success(stage: Stage) -> None:
    """What waits for a job's death is enqueued at the first one only; a redrive that completes enqueues the rest."""
    app, ran = _app()
    attempts: list[int] = []

    @app.task(retry=ONCE)
    async def thrice() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionError("not yet")

    note = app.find("note")
    (id,) = await stage.enqueue(thrice.job().then(note.job("success")).on_death(note.job("death")))
    async with working(stage.db, app):
        for _ in range(2):
            await stage.until_in("dead", id)
            await stage.until_true("select not exists (select from perdure.ready)")
            async with AsyncClient(stage.db.url) as client:
                await client.jobs.redrive(id)
        await stage.until_true("select count(*) = 3 from perdure.history")

    assert [name for name, *_ in ran] == ["death", "success"]
    assert await stage.value(LEFT) == 0


async def test_a_chain_that_ends_at_a_taken_key_says_so(stage: Stage) -> None:
    """A follow-up whose unique key is taken isn't enqueued, and what was to follow it would be lost: the reason stays
    with it, and whoever waits for the chain hears it. Red when the follow-up counts as enqueued."""
    app, ran = _app()
    note = app.find("note")
    middle = note.job("middle").options(unique="m")
    async with AsyncClient(stage.db.url) as client:
        held = await client.jobs.enqueue(middle, delay=3600)
        broken = await client.jobs.enqueue(chain(note.job("first"), middle, note.job("last")))
        whole = await client.jobs.enqueue(chain(note.job("other"), middle))
        async with working(stage.db, app):
            with pytest.raises(JobFailed, match=rf"is taken by job {held.id}, which isn't followed by the 1 that"):
                await client.jobs.wait_chain(broken.id, timeout=BOUND_SECONDS)
            await client.jobs.wait(whole.id, timeout=BOUND_SECONDS)

    assert sorted(name for name, *_ in ran) == ["first", "other"]
    assert await stage.rows("select job, follower from perdure.followed") == [(whole.id, held.id)]
    assert await stage.rows("select job from perdure.follow_up where problem is not null") == [(broken.id,)]


async def test_an_end_waits_for_its_follow_ups_and_is_seen_with_them(stage: Stage) -> None:
    """While the follow-ups of a job are locked, it hasn't ended for anybody; then both are there at once. Red when they
    are enqueued by a transaction of their own, after the settlement."""
    app, _ = _app()
    note = app.find("note")
    (id,) = await stage.enqueue(chain(note.job("first"), note.job("second")))
    blocker = stage.db.connect()
    blocker.execute("begin")
    blocker.execute("select from perdure.follow_up for update")
    async with working(stage.db, app):
        await stage.until_true(SETTLER_WAITS)
        ended = await stage.value("select count(*) from perdure.history")
        blocker.execute("rollback")
        await stage.until_true("select count(*) = 2 from perdure.history")

    assert ended == 0
    assert (await stage.job(id)).outcome == "completed"


async def test_follow_ups_are_in_the_transaction_of_the_end(stage: Stage) -> None:
    """Where a follow-up is seen, the job before it has ended, and the other way round: at no moment is a chain without
    a living job. Red when they are enqueued by a transaction of their own."""
    app, _ = _app()
    note = app.find("note")
    await stage.enqueue(*[chain(*[note.job(str(step)) for step in range(6)]) for _ in range(20)])
    broken = (
        "select count(*) from (select 1) s where (select count(*) from perdure.job) + "
        "(select count(*) from perdure.history where payload::text like '%%\"5\"%%') <> 20"
    )
    seen = [await stage.value(broken)]
    async with working(stage.db, app):
        while await stage.value("select count(*) < 120 from perdure.history"):
            seen.append(await stage.value(broken))

    assert set(seen) == {0}
    assert await stage.value(LEFT) == 0


@pytest.mark.parametrize("autocommit", [True, False])
async def test_follow_ups_are_written_with_their_job_or_not_at_all(stage: Stage, autocommit: bool) -> None:
    """In the caller's transaction they come and go with the job; on a connection that commits each statement by itself
    they still share one commit with it."""
    app, _ = _app()
    note = app.find("note")
    client = Client(stage.db.url)
    conn = stage.db.connect()
    conn.autocommit = autocommit
    client.on(conn).jobs.enqueue(note.job("a").then(note.job("b")))
    if autocommit:
        conn.execute("begin")
        client.on(conn).jobs.enqueue_many([note.job("c").then(note.job("d")), note.job("e")])
    conn.execute("rollback")
    client.close()

    expected = 1 if autocommit else 0
    assert await stage.value("select count(*) from perdure.job") == expected
    assert await stage.value(LEFT) == expected


async def test_ends_that_nobody_saw_to_are_swept(stage: Stage) -> None:
    """Follow-ups of jobs that were ended by an older worker or by SQL alone are enqueued, or dropped, by a sweep, in
    the context that their job had; so are those of the dead that a rescue buried."""
    app, ran = _app()
    note = app.find("note")
    jobs = [note.job(name).then(note.job(f"after {name}")).on_death(note.job(f"death of {name}")) for name in "abc"]
    done, dead, cancelled = await stage.enqueue(*[job.options(context={"tenant": "acme"}) for job in jobs])
    # What a worker of version 0.1.0, a rescue and cancel_v1 leave behind.
    stage.conn.execute("delete from perdure.ready")
    stage.conn.execute(
        "with e as (delete from perdure.job where id = %s returning *) insert into perdure.history (id, created_at, "
        "finished_at, lane, generation, attempt, rescues, outcome, task, options, context, payload) select id, "
        "created_at, now(), lane, generation, attempt, rescues, 'completed', task, options, context, payload from e",
        [done],
    )
    stage.conn.execute("insert into perdure.dead (id, reason) values (%s, 'worker_lost')", [dead])
    stage.conn.execute("insert into perdure.held (id, reason) values (%s, 'x')", [cancelled])
    stage.conn.execute("select perdure.cancel_v1(%s)", [cancelled])

    assert await stage.ask(follow.Sweep()(100, all=False)) == 1
    assert await stage.ask(follow.Sweep()(100)) == 4
    assert await stage.ask(follow.Sweep()(100)) == 0
    async with working(stage.db, app):
        await stage.until_true("select not exists (select from perdure.ready) and count(*) = 4 from perdure.history")

    assert sorted(ran) == [("after a", "acme", f"job:{done}"), ("death of b", "acme", f"job:{dead}")]
    assert await stage.rows("select job, cause from perdure.follow_up") == [(dead, "success")]


async def test_a_queue_that_stays_full_is_in_no_other_s_way(stage: Stage) -> None:
    """The sweep gets to a follow-up that can be enqueued, however many before it wait for a queue that stays full, of
    the completed and of the dead. Red when each batch begins at the first one."""
    app, _ = _app()
    app.queue("shut", max_depth=1, when_full="reject")
    note = app.find("note")
    async with AsyncClient(stage.db.url) as client:
        await client.queues.declare(app)
        await client.jobs.enqueue(note.job("fills it"), queue="shut")
    stuck, free = note.job("stuck").options(queue="shut"), note.job("free")
    *before, done = await stage.enqueue(*[note.job("a").then(each) for each in (stuck, stuck, stuck, free)])
    *_, dead = await stage.enqueue(*[note.job("b").on_death(each) for each in (stuck, stuck, free)])
    stage.conn.execute("delete from perdure.ready where id between %s and %s", [before[0], dead])
    stage.conn.execute(
        "with e as (delete from perdure.job where id = any(%s) returning *) insert into perdure.history (id, "
        "created_at, finished_at, lane, generation, attempt, rescues, outcome, task, options, payload) select id, "
        "created_at, now(), lane, generation, attempt, rescues, 'completed', task, options, payload from e",
        [[*before, done]],
    )
    stage.conn.execute(
        "insert into perdure.dead (id, reason) select id, 'x' from perdure.job where id > %s and id <= %s", [done, dead]
    )

    def followed() -> list[int]:
        return [job for (job,) in stage.conn.execute("select job from perdure.followed order by job").fetchall()]

    of_the_dead, sweep = follow.Sweep(), follow.Sweep()
    assert await stage.ask(of_the_dead(2, all=False)) == 2  # there is more
    assert await stage.ask(of_the_dead(2, all=False)) == 1
    assert followed() == [dead]
    while await stage.ask(sweep(2)) == 2:
        pass
    assert followed() == [done, dead]


async def test_a_follow_up_that_cant_be_enqueued_holds_up_nobody(stage: Stage) -> None:
    """A full queue, a key that is taken, a form that this version doesn't know: the job before it has completed all the
    same; the first is enqueued by a sweep once there is room, the others keep their reason. Red when the end waits for
    its follow-ups."""
    app, ran = _app()
    app.queue("narrow", max_depth=1, when_full="reject")
    note = app.find("note")
    async with AsyncClient(stage.db.url) as client:
        await client.queues.declare(app)
        await client.jobs.enqueue(note.job("fills it"), queue="narrow")
        with pytest.raises(QueueSaturated):
            await client.jobs.enqueue(note.job("x"), queue="narrow")
        await client.jobs.enqueue(note.job("holder"), unique=Unique("k", until="expired", lifetime=3_600))
        taken = note.job("taken").options(unique="k", on_conflict="raise")
        waiting = note.job("waits for room").options(queue="narrow")
        first = await client.jobs.enqueue(note.job("a").then(waiting, note.job("b")))
        await client.jobs.enqueue(note.job("c").then(taken, note.job("d")))
        last = await client.jobs.enqueue(note.job("e").then(note.job("f")))
        stage.conn.execute(
            "update perdure.follow_up set spec = (spec::jsonb || '{\"moon\": 1}')::json "
            "where spec -> 'payload' ->> 'name' = 'f'"
        )
        async with working(stage.db, app, queues={"default": 5}):
            await stage.until_true("select count(*) = 6 from perdure.history")
        assert sorted(name for name, *_ in ran) == ["a", "b", "c", "d", "e", "holder"]
        with pytest.raises(WaitTimeout, match="its follow-ups aren't enqueued yet"):
            await client.jobs.wait_chain(first.id, timeout=0.2)
        with pytest.raises(JobFailed, match="is not followed: moon: is not an option"):
            await client.jobs.wait_chain(last.id, timeout=BOUND_SECONDS)
        async with working(stage.db, app, queues={"narrow": 5}):
            await stage.until_true("select count(*) >= 7 from perdure.history")

        async def there_is_room() -> bool:
            """Room shows when the queue is counted anew, and that worker's own sweep may have seen it first."""
            await stage.ask(follow.Sweep()(100))
            return bool(await stage.value("select count(*) = 2 from perdure.follow_up"))

        await until(there_is_room)
        async with working(stage.db, app, queues={"narrow": 5}):
            await stage.until_true("select count(*) = 8 from perdure.history")

    problems = [problem for (problem,) in await stage.rows("select problem from perdure.follow_up order by job")]
    assert len(problems) == 2
    assert "'k'" in problems[0] or "unique" in problems[0]
    assert problems[1].startswith("moon: is not an option that this version knows")


async def test_what_cant_follow_is_shown_and_forgotten_with_its_job(stage: Stage) -> None:
    """The doctor names a follow-up that can't be enqueued, and explain says so of its job; it is kept as long as that
    one is, dead or in history, and forgotten then. Red when the sweep leaves it, or takes it sooner."""
    app, _ = _app()
    note = app.find("note")
    [job, dead] = await stage.enqueue(note.job("a").then(note.job("b")), note.job("c").then(note.job("d")))
    stage.conn.execute("update perdure.follow_up set spec = '{\"moon\": 1}' where job = %s", [job])
    stage.conn.execute("update perdure.follow_up set problem = 'no luck' where job = %s", [dead])
    stage.conn.execute("delete from perdure.ready where id = %s", [dead])
    stage.conn.execute("insert into perdure.dead (id, reason) values (%s, 'exhausted')", [dead])
    async with working(stage.db, app):
        await stage.until_all_in("history", [job])

    [finding] = await stage.ask(chains.broken(Subject("", "perdure")))
    told = [await stage.ask(explain(id)) for id in (job, dead)]
    forgotten = [await stage.ask(chores.sweep_sides(14, 100))]
    stage.conn.execute("delete from perdure.history")
    forgotten.append(await stage.ask(chores.sweep_sides(14, 100)))

    assert (finding.status, finding.evidence["broken"]) == ("warn", 2)
    assert f"first of job {job} (moon: is not an option" in finding.message
    for each, problem in zip(told, ("moon: is not an option", "no luck"), strict=True):
        assert each is not None
        assert each.fix is not None
        assert f"what was to follow it can't be enqueued: {problem}" in each.because
    assert forgotten == [0, 1]
    assert await stage.rows("select job, problem from perdure.follow_up") == [(dead, "no luck")]
    assert (await stage.ask(chains.broken(Subject("", "perdure"))))[0].evidence["broken"] == 1
