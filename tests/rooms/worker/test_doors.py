"""What stands between a claimed job and its handler, and what one queue's handlers can't take from another's."""

from __future__ import annotations

import asyncio

import pytest

from perdure import AsyncClient, Context, Retry
from perdure.app.registry import App
from perdure.core import context, limits
from perdure.core.errors import ContextMissing, JobNotRetryable
from perdure.jobs.budget import RetryBudget
from tests.conftest import Database
from tests.rooms.worker.stage import Stage, until, working


async def test_a_job_without_its_tenant_is_neither_taken_in_nor_run(db: Database, stage: Stage) -> None:
    """A queue that requires a tenant refuses an enqueue without one; a job that has lost it on the way parks as
    ``context_missing``, its handler isn't called and no attempt is charged [ARC-5]. Red without the doorkeeper."""
    app = App("shop")
    app.queue("mail", tenant_required=True)
    ran: list[str | None] = []

    @app.task(queue="mail")
    async def send() -> None:
        ran.append(context.current().tenant)

    @app.task(queue="mail")
    def print_it() -> None:
        ran.append(context.current().tenant)

    async with AsyncClient(db.url) as client:
        await client.queues.declare(app)
        with pytest.raises(ContextMissing, match="tenant"):
            await client.jobs.enqueue(send.job())
        with context.bind(actor="user:7"), pytest.raises(ContextMissing):
            await client.jobs.enqueue_many([send.job(), print_it.job()])
        with context.bind(tenant="acme"):
            good = [job.id for job in await client.jobs.enqueue_many([send.job(), print_it.job()])]
            bad = [job.id for job in await client.jobs.enqueue_many([send.job(), print_it.job(), send.job()])]
    await stage.rows("update perdure.job set context = null where id = any(%s) returning id", bad[:1])
    await stage.rows("update perdure.job set context = '{\"v\": 1}' where id = any(%s) returning id", bad[1:])
    await stage.rows("update perdure.job set rescues = 1 where id = %s returning id", bad[2])  # a suspect, to run alone

    async with working(db, app, queues={"mail": 2}):
        await stage.until_in("history", *good)
        parked = await stage.until_in("held", *bad)

    assert ran == ["acme", "acme"]
    assert {(job.reason, job.attempt) for job in parked} == {("context_missing", 0)}


async def test_a_parked_job_is_let_go_once_its_queue_needs_no_tenant(db: Database, stage: Stage) -> None:
    """A job that was parked for its missing tenant is let go by a retry: it runs when the rule was dropped, is parked
    again while it holds, and what is parked for another reason is refused with that reason [ARC-5]. Red when a retry
    takes nothing out of ``held``."""
    strict, relaxed = App("shop"), App("shop")
    strict.queue("mail", tenant_required=True)
    relaxed.queue("mail", tenant_required=False)

    async def send() -> None: ...

    strict.task(queue="mail")(send)
    relaxed.task(queue="mail")(send)
    async with AsyncClient(db.url) as client:
        job = (await client.jobs.enqueue(relaxed.find("send").job())).id
        for times in (1, 2):
            async with working(db, strict, queues={"mail": 2}):
                await stage.until_true("select count(*) = %s from perdure.attempt where ending = 'held'", times)
            assert (await client.jobs.get(job)).reason == "context_missing"
            await client.jobs.retry(job)
            assert (await client.jobs.get(job)).place == "ready"
        async with working(db, relaxed, queues={"mail": 2}):
            await stage.until_in("history", job)
        await client.jobs.pause(other := (await client.jobs.enqueue(relaxed.find("send").job())).id)
        with pytest.raises(JobNotRetryable, match=r"stands in held \(paused\)"):
            await client.jobs.retry(other)


async def test_retries_are_no_more_than_their_budget(
    db: Database, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When what the jobs depend on fails every time, retries don't multiply the work: beyond the ten there are at first
    they are put off, with no attempt charged and none lost; what completes pays for more [ARC-12]. Red when a retry
    costs nothing."""
    monkeypatch.setattr(limits, "RETRY_PUT_OFF_SECONDS", 3_600.0)  # none comes back before the test sees to it
    app = App("shop")
    app.queue("calls", retry_budget=0.5)
    attempts, back = 0, False

    @app.task(queue="calls", retry=Retry(max_attempts=1_000, base=0.001, cap=0.001, jitter="none"))
    async def call() -> None:
        nonlocal attempts
        attempts += 1
        if not back:
            raise ConnectionError("down")

    @app.task(queue="calls")
    async def other() -> None: ...

    put_off = "select count(distinct job) >= %s from perdure.attempt where ending = 'snooze' and error like 'put off%%'"
    async with working(db, app, queues={"calls": 20}) as worker:
        failing = await stage.enqueue(*[call.job()] * 200)
        await stage.until_true(put_off, 190)
        first = attempts
        trickled = await stage.value("select extract(epoch from now() - min(created_at))::float8 / 10 from perdure.job")
        door = worker._premises.doors["calls"]
        assert 200 < first <= 200 + 10 + trickled + 1
        assert door.put_off >= 190

        await stage.until_all_in("history", await stage.enqueue(*[other.job()] * 100))
        back = True
        await stage.rows(
            "with d as (update perdure.scheduled s set run_at = clock_timestamp() returning s.id, s.run_at) "
            "update perdure.job j set run_at = d.run_at from d where j.id = d.id returning j.id"
        )
        done = "select count(*) >= 49 from perdure.history h where h.id = any(%s)"
        await stage.until_true(done, failing)

    assert await stage.value("select max(attempt) from perdure.job") <= 15
    assert await stage.value("select count(*) from perdure.dead") == 0


async def test_a_suspect_that_is_put_off_stays_a_suspect(
    db: Database, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspect whose retry its queue's budget doesn't allow now goes back as it is: still a suspect, with the crashes
    counted so far and no attempt charged. Otherwise it would run among others next, and take their worker with it. Red
    when it is snoozed."""
    app = App("shop")
    app.queue("calls", retry_budget=0.1)
    monkeypatch.setattr(RetryBudget, "spend", lambda budget, now: False)

    @app.task(queue="calls")
    async def call() -> None:
        raise AssertionError("it was put off")

    [id] = await stage.enqueue(call.job())
    await stage.rows("update perdure.job set attempt = 2, rescues = 1, crashes = 2 where id = %s returning id", id)
    async with working(db, app):
        await stage.until_in("scheduled", id)

    assert await stage.rows("select attempt, rescues, crashes from perdure.job") == [(2, 1, 2)]


async def test_what_bulk_work_holds_isn_t_missing_elsewhere(db: Database, stage: Stage) -> None:
    """With every slot of the bulk queue taken by handlers that hold connections, or wait for one, beats go on and a
    critical job gets a connection of its own queue's at once [ARC-28]. Red when the queues share their
    connections."""
    app = App("shop")
    app.queue("bulk", connections=2)
    app.queue("critical", connections=1)
    holding, let_go = 0, asyncio.Event()

    @app.task(queue="bulk")
    async def churn(ctx: Context) -> None:
        nonlocal holding
        async with ctx.transaction() as tx:
            await tx.connection.execute("select 1")
            holding += 1
            await let_go.wait()

    @app.task(queue="critical")
    async def charge(ctx: Context) -> int:
        async with ctx.transaction() as tx:
            await tx.connection.execute("select 1")
        return 42

    async with working(db, app, queues={"bulk": 6, "critical": 1}) as worker:
        bulk = await stage.enqueue(*[churn.job()] * 6)
        await until(lambda: holding == 2 and worker.gauges()["queues"]["bulk"]["busy"] == 6)
        for _ in range(3):
            [done] = await stage.until_in("history", *await stage.enqueue(charge.job()))
            assert (done.outcome, done.result) == ("completed", 42)
        beaten = await stage.value("select expires_at from perdure.worker where id = %s", worker.id)
        await stage.until_true("select expires_at > %s from perdure.worker where id = %s", beaten, worker.id)
        held = "select count(*) from pg_stat_activity where datname = current_database() "
        held += "and application_name like 'perdure-handler%%' and state = 'idle in transaction'"
        assert await stage.value(held) == 2
        let_go.set()
        await stage.until_all_in("history", bulk)

    assert holding == 6


async def test_what_is_stale_ends_without_its_handler(db: Database, stage: Stage) -> None:
    """A thousand jobs that were wanted for a moment only, and waited for longer, end as expired when their turn comes,
    without one call of their handler, and are counted [ARC-10]. Red when the claim overlooks ``expires_at``."""
    app = App("shop")
    calls = 0

    @app.task(queue="quotes")
    async def quote() -> None:
        nonlocal calls
        calls += 1

    stale = await stage.enqueue(*[quote.job().options(expires=0.000_001)] * 1_000)
    async with working(db, app, queues={"quotes": 10}) as worker:
        await stage.until_all_in("history", stale)
        await until(lambda: worker.gauges()["settled"].get("expired") == 1_000)

    assert calls == 0
    assert await stage.rows("select distinct outcome, attempt from perdure.history") == [("expired", 0)]


@pytest.mark.parametrize("slots", [1, 20])
async def test_as_many_run_at_once_as_there_are_slots(db: Database, stage: Stage, slots: int) -> None:
    """A queue runs as many jobs at a time as it has slots, and no more, although a claim takes more than that
    [DW-185]."""
    app = App("shop")
    running = most = 0

    @app.task(queue="mail")
    async def send() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    async with working(db, app, queues={"mail": slots}) as worker:
        jobs = await stage.enqueue(*[send.job()] * 400)
        await stage.until_all_in("history", jobs)
        claims = worker.gauges()["claims"]

    assert most == slots
    assert slots == 20 or claims < 400


async def test_a_follow_up_without_the_tenant_it_needs_holds_up_nobody(db: Database, stage: Stage) -> None:
    """A job ends although what follows it is refused for want of a tenant: the reason is kept with the follow-up, its
    mates are enqueued, and the worker goes on [ARC-5]. Red, and no worker left, when only full queues are expected."""
    app = App("shop")
    app.queue("mail", tenant_required=True)

    @app.task
    async def charge() -> None: ...

    @app.task(queue="mail")
    async def send() -> None: ...

    async with working(db, app):
        jobs = await stage.enqueue(charge.job().then(send.job()), charge.job().then(charge.job()))
        await stage.until_all_in("history", jobs)
        await stage.until_true("select count(*) = 3 from perdure.history")

    kept = await stage.rows("select job, problem like '%%names no tenant%%' from perdure.follow_up")
    assert kept == [(jobs[0], True)]
