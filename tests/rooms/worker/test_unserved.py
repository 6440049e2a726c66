"""A handler for which its worker has no connection: its job waits, and isn't charged for that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import App, Client, Context, Permanent, Retry
from perdure.app.client import opening
from perdure.core.errors import ServerUnavailable
from perdure.jobs import rules
from perdure.jobs.budget import UNSERVED
from tests.rooms.worker import children
from tests.rooms.worker.stage import Stage, working

ONCE = Retry(max_attempts=1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that wait for a connection only briefly, and jobs that are put off for a moment."""
    monkeypatch.setattr(opening, "CONNECTION_SECONDS_MAX", 0.2)
    monkeypatch.setattr(rules, "UNSERVED_SECONDS", 0.05)


def starving(**options: Any) -> App:
    """Two tasks whose handlers, the first time they run, find the only connection taken."""
    app = App("a")
    app.queue("default", connections=1)

    @app.task(**options)
    async def loop(ctx: Context) -> int:
        if ctx.fence.generation == 0:
            async with ctx.desk.awaited.connection():
                await ctx.enqueue(app.tasks["loop"].job())
        return ctx.attempt

    @app.task(**options)
    def thread(ctx: Context) -> int:
        if ctx.fence.generation == 0:
            with ctx.desk.blocking.connection(), ctx.transaction():
                raise AssertionError("there were two connections")
        return ctx.attempt

    return app


@pytest.mark.parametrize("kind", ["loop", "thread", "process"])
async def test_want_of_a_connection_is_charged_to_no_job(
    stage: Stage, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A job with a single attempt whose handler waits in vain for a connection of its worker's is put off, with the
    reason in its log, and completes later in its first attempt, wherever handlers run. Red when want of one is an error
    like any other, which makes the job dead."""
    app = children.app if kind == "process" else starving(retry=ONCE)
    task = children.starves if kind == "process" else app.tasks[kind]
    with caplog.at_level("INFO", "perdure.run"):
        (id,) = await stage.enqueue(task.job())
        async with working(stage.db, app):
            (job,) = await stage.until_in("history", id)
    (waited,) = await stage.attempts(id)

    assert (job.outcome, job.result, job.attempt) == ("completed", 1, 1)
    assert (waited.ending, waited.attempt) == ("snooze", 0)
    assert waited.error is not None
    assert waited.error.startswith(f"{UNSERVED}\nServerUnavailable: server: no connection within 0.2 s")
    assert "connections=…" in waited.error
    assert f"job {id} ({task.name}) is put off: its worker had no connection" in caplog.text


WANT = ServerUnavailable("no connection within 0.2 s", field="server")
WANT.of_worker = True


def _from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_want"),
    [
        (_from(ValueError("not paid"), WANT), True),
        (_from(ValueError("not paid"), _from(KeyError("x"), WANT)), True),
        (ExceptionGroup("two", [WANT, ExceptionGroup("one", [_from(ValueError(), WANT)])]), True),
        (ExceptionGroup("two", [WANT, ValueError("another")]), False),
        (_from(Permanent("given up"), WANT), False),
        (_from(ServerUnavailable("of the application's own"), WANT), False),
        (ValueError("not paid"), False),
    ],
    ids=["from", "from afar", "group", "another beside it", "ending", "the application's", "another"],
)
def test_want_of_a_connection_is_found_under_what_a_handler_made_of_it(error: Exception, is_want: bool) -> None:
    """An error that was raised from the want of a worker's connection, and a group of nothing else, as a TaskGroup
    raises it, are that want; an ending is what the handler says. Red when only the bare error is looked at."""
    assert rules.unserved(error) is (WANT if is_want else None)


async def test_a_handler_s_task_group_that_wants_connections_is_charged_nothing(stage: Stage) -> None:
    """Two calls beside each other that need a connection each, of which there is one, put their job off, and it
    completes in its first attempt. Red when the group of a TaskGroup is a failure."""
    app = App("a")
    app.queue("default", connections=1)

    async def enqueue(ctx: Context) -> None:
        async with ctx.desk.awaited.connection():
            await ctx.enqueue(app.tasks["work"].job())

    @app.task(retry=ONCE)
    async def work(ctx: Context) -> int:
        if ctx.fence.generation == 0:
            async with asyncio.TaskGroup() as group:
                group.create_task(enqueue(ctx))
        return ctx.attempt

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        (job,) = await stage.until_in("history", id)

    assert (job.outcome, job.result) == ("completed", 1)


async def test_a_job_that_may_run_once_is_not_put_off_for_want_of_a_connection(stage: Stage) -> None:
    """What must not be started twice is dead then, to be reviewed: its handler may have done something before it asked
    for a connection. Red when it is put off like any other."""
    app = starving(at_most_once=True)
    (id,) = await stage.enqueue(app.tasks["loop"].job())
    async with working(stage.db, app):
        (job,) = await stage.until_in("dead", id)

    assert job.reason == "needs_review"


async def test_want_of_a_connection_of_the_application_s_own_is_an_error(stage: Stage) -> None:
    """A handler that waits in vain for a connection of a client of its own has failed: nobody but the application can
    say what that means. Red when every ServerUnavailable is taken for the worker's."""
    app, url = App("a"), stage.db.url

    @app.task(retry=ONCE)
    def work() -> None:
        with Client(url) as client:
            client._pooled._connections = 1
            with client.transaction(), client.transaction():
                pass

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        (job,) = await stage.until_in("dead", id)

    assert job.reason == "exhausted"
    assert "no connection within 0.2 s" in (job.error or "")


async def test_a_worker_says_when_its_slots_may_want_more_connections_than_there_are(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start one line names each queue that has more slots than connections, if a task in it takes the context;
    others aren't named. Red without the look."""
    app = App("a")
    for queue in ("asks", "asks_little"):

        @app.task(name=queue, queue=queue)
        async def asks(ctx: Context) -> None:
            await ctx.enqueue(asks.job())

    @app.task(queue="plain")
    async def plain() -> None: ...

    app.queue("asks", connections=3)
    with caplog.at_level("INFO", "perdure.worker"):
        async with working(stage.db, app, queues={"asks": 4, "asks_little": 4, "plain": 50}):
            pass

    assert caplog.text.count(" connections for ctx.transaction()") == 1
    assert "the queue asks has 4 slots and 3 connections" in caplog.text
