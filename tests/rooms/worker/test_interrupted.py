"""``ctx.transaction()`` whose connection Postgres ends: its job runs again, and isn't charged for that."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from perdure import App, Context, Permanent, Retry
from perdure.core import limits
from perdure.jobs import rules
from tests.rooms.worker import children
from tests.rooms.worker.stage import Stage, working

ONCE = Retry(max_attempts=1)
EFFECT = "insert into effect (job) values (%s)"
TERMINATE = "select pg_terminate_backend(%s, 10000)"


@pytest.fixture
def effects(stage: Stage) -> Stage:
    """A table of the application's own, in which a job leaves a row each time it takes effect."""
    stage.conn.execute("create table effect (job bigint not null)")
    return stage


def _end(stage: Stage, tx: Any) -> None:
    assert stage.conn.execute(TERMINATE, [tx.connection.info.backend_pid]).fetchall() == [(True,)]


def _app(stage: Stage, how: str, **options: Any) -> App:
    """A task on the loop, and one in a thread, whose block loses its connection the first time."""
    app = App("a")

    @app.task(**options)
    async def loop(ctx: Context) -> int:
        async with ctx.transaction() as tx:
            await tx.connection.execute(EFFECT, [ctx.job.id])
            if not ctx.fence.generation:
                _end(stage, tx)
            try:
                await tx.connection.execute("select 1")
            except psycopg.OperationalError as error:
                if how == "translated":
                    raise ValueError("not paid") from error
                raise
        return ctx.attempt

    @app.task(**options)
    def thread(ctx: Context) -> int:
        with ctx.transaction() as tx:
            tx.connection.execute(EFFECT, [ctx.job.id])
            if not ctx.fence.generation:
                _end(stage, tx)
            try:
                tx.connection.execute("select 1")
            except psycopg.OperationalError:
                if how == "translated":
                    raise KeyError("not paid") from None
                raise
        return ctx.attempt

    return app


@pytest.mark.parametrize("how", ["raised", "translated"])
@pytest.mark.parametrize("kind", ["loop", "thread", "process"])
async def test_a_block_whose_connection_is_gone_costs_no_attempt(effects: Stage, kind: str, how: str) -> None:
    """A job with a single attempt, whose transaction loses its connection between two statements, runs again and takes
    effect once, whatever its handler makes of the error. Red when that is judged like any failure: the job is dead."""
    if kind == "process":
        app, job = children.app, children.loses.job(how=how)
    else:
        app = _app(effects, how, retry=ONCE)
        job = app.tasks[kind].job()
    (id,) = await effects.enqueue(job)
    async with working(effects.db, app):
        (done,) = await effects.until_in("history", id)

    assert (done.outcome, done.result, done.attempt) == ("completed", 1, 1)
    assert await effects.value("select count(*) from effect") == 1
    (interrupted,) = await effects.attempts(id)
    assert "the connection of ctx.transaction() is gone" in (interrupted.error or "")


@pytest.mark.parametrize("why", ["slow", "again", "ending", "once"])
async def test_not_every_lost_connection_is_free(effects: Stage, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """What was open for as long as Postgres lets a session be idle is charged, and so is a job that loses its
    connection again and again; an ending is what the handler says; what must run once is to be reviewed. Red when any
    lost connection is free: such a job would run for ever."""
    app = _app(effects, "raised", retry=ONCE, at_most_once=why == "once")
    monkeypatch.setattr(limits, "HANDLER_IDLE_SECONDS", 0.0 if why == "slow" else 3_600.0)
    monkeypatch.setattr(rules, "INTERRUPTIONS_MAX", -1 if why == "again" else 10)

    @app.task(retry=ONCE)
    async def gives_up(ctx: Context) -> None:
        async with ctx.transaction() as tx:
            _end(effects, tx)
            raise Permanent("the customer has left")

    (id,) = await effects.enqueue((gives_up if why == "ending" else app.tasks["loop"]).job())
    async with working(effects.db, app):
        (job,) = await effects.until_in("dead", id)

    assert job.reason == {"ending": "permanent", "once": "needs_review"}.get(why, "exhausted")
    assert await effects.value("select count(*) from effect") == 0
