"""The context of a job: stored with it, bound for its one execution, handed on to what it enqueues."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure import AsyncClient, Client, Envelope, context
from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from tests.rooms.worker import children
from tests.rooms.worker.stage import Stage, working

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_handler_sees_what_was_bound_at_the_enqueue(stage: Stage) -> None:
    """Trace, tenant and actor that were bound around an enqueue stand in the job's own column, and its handler sees
    them without an argument; so does one in a thread, in a thread that it asked for, and in a child process [ARC-1].
    Red when the enqueue doesn't capture, or the runner doesn't bind."""
    app = App("a")

    @app.task
    async def on_the_loop(ctx: Context) -> list[str | None]:
        there = await asyncio.to_thread(context.current)
        return [context.current().tenant, there.tenant, ctx.context.actor, context.current().traceparent]

    @app.task
    def in_a_thread(ctx: Context) -> list[str | None]:
        return [context.current().tenant, ctx.context.tenant, ctx.context.actor, context.current().traceparent]

    app._add(children.whose_context)
    async with AsyncClient(stage.db.url) as client:
        with context.bind(tenant="acme", actor="user:7", traceparent=TRACE):
            jobs = [
                await client.jobs.enqueue(on_the_loop.job()),
                *await client.jobs.enqueue_many([in_a_thread.job(), children.whose_context.job()]),
            ]
        bare = await client.jobs.enqueue(in_a_thread.job())
    stored = await stage.rows("select context from perdure.job where id <> %s", bare.id)

    async with working(stage.db, app):
        done = await stage.until_in("history", *[job.id for job in jobs])
        (without,) = await stage.until_in("history", bare.id)

    words = {"v": 1, "tenant": "acme", "actor": "user:7", "traceparent": TRACE}
    assert [row[0] for row in stored] == [words] * 3
    assert [job.result for job in done] == [["acme", "acme", "user:7", TRACE]] * 3
    assert [job.context for job in done] == [words] * 3
    assert (without.result, without.context) == ([None] * 4, {})


async def test_contexts_do_not_leak_from_one_job_to_another(stage: Stage) -> None:
    """Jobs of two tenants run by turns on one loop, in threads, and raise: each sees its own, and what runs in the same
    slots after them with no context sees none, whatever a handler has left running [ARC-2]. Red without the reset when
    a handler has ended."""
    app, turns, left = App("a"), [asyncio.Event(), asyncio.Event()], []

    async def linger() -> str | None:
        await asyncio.sleep(0)
        await turns[1].wait()
        return context.current().tenant

    @app.task(retry=Retry(max_attempts=1))
    async def by_turns(mine: int) -> None:
        left.append(asyncio.create_task(linger()))
        before = context.current().tenant
        turns[mine].set()
        await turns[1 - mine].wait()
        raise ValueError(f"{before} {context.current().tenant}")

    @app.task(retry=Retry(max_attempts=1))
    def in_a_thread() -> None:
        raise ValueError(f"{context.current().tenant}")

    @app.task
    async def bare_on_the_loop() -> bool:
        return context.current() == Envelope() and context.captured() is not None

    @app.task
    def bare_in_a_thread() -> list[object]:
        return [context.current() == Envelope(), threading.current_thread().name.startswith("perdure-run")]

    def said(tenant: str) -> dict[str, Any]:
        return {"context": Envelope(tenant=tenant)}

    loud = await stage.enqueue(
        by_turns.job(0).options(**said("acme")),
        by_turns.job(1).options(**said("globex")),
        in_a_thread.job().options(**said("acme")),
    )
    async with working(stage.db, app, queues={"default": 2}):
        dead = await stage.until_in("dead", *loud)
        quiet = await stage.enqueue(*[task.job() for task in (bare_on_the_loop, bare_in_a_thread) for _ in range(4)])
        done = await stage.until_in("history", *quiet)

    said_last = [(job.error or "").split("ValueError: ")[-1].splitlines()[0] for job in dead]
    assert said_last == ["acme acme", "globex globex", "acme"]
    assert [job.result for job in done] == [True] * 4 + [[True, True]] * 4
    assert sorted(str(tenant) for tenant in await asyncio.gather(*left)) == ["acme", "globex"]
    assert context.current() == Envelope()


async def test_the_chain_is_one_from_the_request_to_the_last_job(stage: Stage) -> None:
    """A job that a job enqueues is caused by it and in the same chain, through a retry and another hop; one query by
    the correlation id returns the whole chain [ARC-4]. Red when ``captured`` forgets the running job."""
    app = App("a")

    @app.task
    async def last() -> None: ...

    @app.task(retry=Retry(max_attempts=2, base=0.01, cap=0.01))
    async def middle(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise ValueError("once")
        return (await client.jobs.enqueue(last.job())).id

    @app.task
    def first() -> int:
        with Client(stage.db.url) as sync:
            return sync.jobs.enqueue(middle.job()).id

    async with AsyncClient(stage.db.url) as client:
        with context.bind(correlation_id="request-1", tenant="acme", origin="http"):
            root = await client.jobs.enqueue(first.job())
        async with working(stage.db, app):
            second = await client.jobs.wait(root.id, timeout=60)
            third = await client.jobs.wait(second, timeout=60)
            await client.jobs.wait(third, timeout=60)
    chain = await stage.rows(
        "select id, context ->> 'causation_id', context ->> 'tenant', context ->> 'origin' from perdure.jobs"
        " where context ->> 'correlation_id' = 'request-1' order by id"
    )

    assert chain == [
        (root.id, None, "acme", "http"),
        (second, f"job:{root.id}", "acme", "http"),
        (third, f"job:{second}", "acme", "http"),
    ]


async def test_a_job_that_is_put_off_keeps_its_context_wherever_it_waits(stage: Stage) -> None:
    """A job that is enqueued for later, is promoted, waits for its retry, dies and is redriven at a rate runs in the
    context that was bound at its enqueue, each time, and in ``scheduled`` its row says it [ARC-6]. Red when a
    promotion, a retry or a redrive writes the body without it."""
    app, seen = App("a"), list[tuple[int, str | None, str | None, str | None, str | None]]()

    @app.task(retry=Retry(max_attempts=2, base=0.01, cap=0.01))
    async def later(ctx: Context, ends: int) -> None:
        bound = context.current()
        seen.append((ctx.attempt, bound.tenant, bound.actor, bound.correlation_id, bound.replayed_by))
        if len(seen) <= ends:
            raise ConnectionError("not yet")

    async with AsyncClient(stage.db.url) as client:
        with context.bind(tenant="acme", actor="user:7", correlation_id="request-1"):
            first = await client.jobs.enqueue(later.job(2), delay=0.05)
            at = await client.jobs.enqueue(later.job(0), run_at=datetime.now(UTC) + timedelta(hours=1))
        waits = {job.place: job.context for job in [await client.jobs.get(first.id), await client.jobs.get(at.id)]}
        async with working(stage.db, app):
            await stage.until_in("dead", first.id)
            acted = await client.jobs.redrive_dead(by="user:b", rate=50, everything=True)
            await stage.until_in("history", first.id)
            await client.jobs.retry(at.id)
            await stage.until_in("history", at.id)

    words = ("acme", "user:7", "request-1")
    assert waits == {"scheduled": {"v": 1, "tenant": "acme", "actor": "user:7", "correlation_id": "request-1"}}
    assert acted.jobs == 1
    assert seen == [(1, *words, None), (2, *words, None), (1, *words, "user:b"), (1, *words, None)]
