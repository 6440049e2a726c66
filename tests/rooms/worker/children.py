"""Tasks that run in child processes. A child imports the task's module, so they can't be local to a test."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime

import msgspec
import psycopg

from perdure import context
from perdure.app.client import opening
from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from perdure.jobs.work import Claimed, Lease

app = App("children")
ONCE = Retry(max_attempts=1)


@app.task(run_in="process")
def whose_process() -> int:
    """The child's pid."""
    return os.getpid()


@app.task(run_in="process")
async def whose_process_async() -> int:
    """The same, asked by a coroutine."""
    return os.getpid()


@app.task(run_in="process", retry=ONCE)
def who(ctx: Context, order_id: int) -> list[object]:
    """What the child's context says."""
    return [order_id, ctx.job.id, ctx.job.key, ctx.attempt, ctx.fence.generation, ctx.cancelled]


@app.task(run_in="process", retry=ONCE)
def enqueues(ctx: Context) -> int:
    """Enqueue another job; its id."""
    enqueued: int = ctx.enqueue(whose_process.job(), key="child").id
    return enqueued


@app.task(run_in="process", retry=ONCE)
async def enqueues_async(ctx: Context) -> int:
    """The same, awaited."""
    enqueued: int = (await ctx.enqueue(whose_process.job(), key="async child")).id
    return enqueued


@app.task(run_in="process", retry=ONCE)
def loses(ctx: Context, how: str) -> int:
    """Take effect in a block that loses its connection the first time."""
    with ctx.transaction() as tx:
        tx.connection.execute("insert into effect (job) values (%s)", [ctx.job.id])
        if ctx.fence.generation == 0:
            socket.socket(fileno=os.dup(tx.connection.fileno())).shutdown(socket.SHUT_RDWR)
        try:
            tx.connection.execute("select 1")
        except psycopg.OperationalError:
            if how == "translated":
                raise KeyError("not paid") from None
            raise
    return ctx.attempt


@app.task(run_in="process", retry=ONCE)
def starves(ctx: Context) -> int:
    """Find, the first time, that the only connection is taken."""
    if ctx.fence.generation == 0:
        vars(opening)["CONNECTION_SECONDS_MAX"] = 0.2
        ctx.desk.blocking._connections = 1
        with ctx.desk.blocking.connection():
            ctx.enqueue(whose_process.job())
    return ctx.attempt


@app.task(run_in="process", retry=ONCE)
def takes_effect(ctx: Context) -> str:
    """Leave a row of the application's own, together with the end of the job."""
    with ctx.transaction() as tx:
        tx.connection.execute("insert into effect (job) values (%s)", [ctx.job.id])
    return "done"


@app.task(run_in="process", at_most_once=True)
def takes_effect_once(ctx: Context) -> str:
    """The same, and not again."""
    with ctx.transaction() as tx:
        tx.connection.execute("insert into effect (job) values (%s)", [ctx.job.id])
    return "done"


@app.task(run_in="process", retry=ONCE)
async def takes_effect_async(ctx: Context) -> str:
    """The same, awaited."""
    async with ctx.transaction() as tx:
        await tx.connection.execute("insert into effect (job) values (%s)", [ctx.job.id])
    return "done"


@app.task(run_in="process", retry=Retry(max_attempts=2, delays=(0,), jitter="none"))
def count_up(ctx: Context, top: int) -> int:
    """Save one more each time, and fail until it is enough."""
    number: int = (ctx.restored or 0) + 1
    ctx.checkpoint(number)
    if number < top:
        raise ConnectionError("again")
    return number


@app.task(run_in="process", retry=ONCE)
def reports(ctx: Context) -> None:
    """Say how far it is, ten times, and fail: the end of a job takes its reports along."""
    for number in range(10):
        ctx.progress(number, 9, "done" if number == 9 else None)
    raise ConnectionError("at the end")


def claimed() -> Claimed:
    """A job as a claim hands it over."""
    return Claimed(1, 0, Lease(1, 1), 1, "t", msgspec.Raw(b"{}"), datetime.now(UTC))


@app.task(run_in="process", retry=ONCE)
def fails() -> None:
    """Raise."""
    raise ValueError("no such thing")


@app.task(run_in="process", retry=ONCE)
def vanish() -> None:
    """End the child without a word, as a segmentation fault would."""
    os._exit(42)


@app.task(run_in="process", retry=ONCE, timeout=0.3)
def never_ends(file: str) -> None:
    """Write the child's pid to the file, then run until killed."""
    with open(file, "w") as out:
        out.write(str(os.getpid()))
    while True:
        time.sleep(3600)


@app.task(run_in="process", retry=ONCE)
def stays(file: str) -> None:
    """The same, without a timeout."""
    with open(file, "w") as out:
        out.write(str(os.getpid()))
    time.sleep(3600)


@app.task(run_in="process", retry=ONCE)
def whose_context(ctx: Context) -> list[str | None]:
    """The tenant, twice, the actor and the trace that the child was bound to."""
    bound = context.current()
    return [bound.tenant, ctx.context.tenant, ctx.context.actor, bound.traceparent]
