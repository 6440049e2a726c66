"""Handlers that are run twice for one job, each with its way of taking effect once; and one without.

The second run of a job whose worker was lost is a suspect's: in a child process, which imports its task from here.
"""

from __future__ import annotations

import time

import psycopg

from perdure import App, Context

app = App("twice")
PATIENCE_SECONDS = 60.0


@app.task
def by_nothing(ctx: Context, url: str) -> None:
    """Take effect, whatever was before."""
    with psycopg.connect(url) as conn:
        conn.execute("insert into effect (job) values (%s)", [ctx.job.id])


@app.task
def by_once(ctx: Context, url: str) -> None:
    """Take effect in a transaction of its own, if this is the first time."""
    with psycopg.connect(url) as conn:
        if ctx.on(conn).once("charge"):
            conn.execute("insert into effect (job) values (%s)", [ctx.job.id])


@app.task
def by_the_provider(ctx: Context, url: str) -> None:
    """Have an outside system take effect, which knows a repeated request by its key."""
    with psycopg.connect(url) as conn:
        conn.execute("insert into request (key) values (%s) on conflict do nothing", [ctx.idempotency_key])


@app.task
def by_the_fence(ctx: Context, url: str) -> None:
    """Write to a store that refuses a lower generation than it has seen. The first run sleeps until the second has
    written, as a process does that was frozen; then it tries."""
    fence = ctx.fence.generation
    with psycopg.connect(url, autocommit=True) as conn:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while fence == 0 and time.monotonic() < deadline:
            row = conn.execute("select fence from store").fetchone()
            if row is not None and row[0] > 0:
                break
            time.sleep(0.02)
        written = conn.execute("update store set fence = %s, writes = writes + 1 where fence <= %s", [fence, fence])
        conn.execute("insert into tried (fence, written) values (%s, %s)", [fence, written.rowcount])
