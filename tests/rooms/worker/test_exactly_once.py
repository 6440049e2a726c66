"""Effects and checkpoints in one commit: whatever fails between two items, each has its effect once."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from perdure.core.errors import Unserialisable, Unsupported
from tests.rooms.worker.stage import Stage, working

TABLE = "create table effect (item int not null, job bigint not null)"
ITEMS = 60
PATIENT = Retry(max_attempts=3, base=0.001, cap=0.001)
"""Three attempts, and more failures than that: progress counts them from one again."""


@pytest.mark.parametrize("place", ["loop", "thread"])
async def test_sums_are_exact_whatever_fails_between_two_items(stage: Stage, place: str) -> None:
    """A handler that commits each item's effect together with its position is run until it is through, failing before
    and after every kind of step: each item has one effect, and the job's end is written once [PAT-4, PAT-7]. Red when
    the checkpoint is saved beside the transaction, before or after it."""
    app, dice = App("a"), random.Random(4)
    stage.conn.execute(TABLE)

    def maybe(step: str, attempt: int) -> None:
        if attempt < 3 and dice.random() < 0.2:
            raise ConnectionError(f"lost {step}")

    @app.task(retry=PATIENT)
    async def loop(ctx: Context) -> None:
        for item in range(ctx.restored or 0, ITEMS):
            maybe("before the item", ctx.attempt)
            async with ctx.transaction() as tx:
                await tx.connection.execute("insert into effect values (%s, %s)", [item, ctx.job.id])
                await tx.checkpoint(item + 1)
                maybe("in the transaction", ctx.attempt)
            maybe("after the commit", ctx.attempt)

    @app.task(retry=PATIENT)
    def thread(ctx: Context) -> None:
        for item in range(ctx.restored or 0, ITEMS):
            with ctx.transaction() as tx:
                tx.connection.execute("insert into effect values (%s, %s)", [item, ctx.job.id])
                tx.checkpoint(item + 1)
                maybe("in the transaction", ctx.attempt)
            maybe("after the commit", ctx.attempt)

    (id,) = await stage.enqueue(app.find(place).job())
    async with working(stage.db, app) as worker:
        [job] = await stage.until_in("history", id)
        failures = worker._settler.counts["retry"]

    assert (job.outcome, await stage.endings(id)) == ("completed", ["retry"] * failures)
    assert failures > 5
    assert await stage.rows("select item, count(*) from effect group by item order by item") == [
        (item, 1) for item in range(ITEMS)
    ]
    assert await stage.value("select count(*) from perdure.checkpoint") == 0


async def test_a_block_that_fails_takes_its_checkpoint_along(stage: Stage) -> None:
    """What a block has saved counts with its commit only: rolled back, the position is what it was, and what the
    handler writes after that doesn't commit before its end. Red when a rolled back checkpoint leaves the block
    committing."""
    app, seen = App("a"), list[object]()
    stage.conn.execute(TABLE)

    @app.task(retry=Retry(max_attempts=2, delays=(0,)))
    async def work(ctx: Context) -> object:
        seen.append(ctx.restored)
        if ctx.restored is not None:
            return "went on"
        async with ctx.transaction() as tx:
            await tx.checkpoint("first")
        with contextlib.suppress(ZeroDivisionError):
            async with ctx.transaction() as tx:
                await tx.connection.execute("insert into effect values (1, 1)")
                await tx.checkpoint("second")
                raise ZeroDivisionError
        async with ctx.transaction() as tx:
            with pytest.raises(Unserialisable):
                await tx.checkpoint(asyncio.Event())
            await tx.connection.execute("insert into effect values (2, 2)")
        raise ConnectionError("rolls back what is open")

    (id,) = await stage.enqueue(work.job())
    async with working(stage.db, app):
        [job] = await stage.until_in("history", id)

    assert seen == [None, "first"]
    assert job.result == "went on"
    assert await stage.rows("select item from effect") == []


@pytest.mark.parametrize("place", ["loop", "thread"])
async def test_a_block_within_a_block_commits_with_the_outer_one(stage: Stage, place: str) -> None:
    """A checkpoint in a block within another one is committed at the end of the outer block, with what that has written
    before and after it, and an error that is caught around a third block takes nothing of that back. Red when a block
    commits whatever is open around it, and when one that fails forgets what others have saved."""
    app = App("a")
    stage.conn.execute(TABLE)

    @app.task(retry=Retry(max_attempts=1))
    async def loop(ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await tx.connection.execute("insert into effect values (1, %s)", [ctx.job.id])
            async with ctx.transaction() as inner:
                await inner.checkpoint("half")
            with contextlib.suppress(ZeroDivisionError):
                async with ctx.transaction():
                    raise ZeroDivisionError
            await tx.connection.execute("insert into effect values (2, %s)", [ctx.job.id])
        raise ConnectionError("after the outer block")

    @app.task(retry=Retry(max_attempts=1))
    def thread(ctx: Context) -> None:
        with ctx.transaction() as tx:
            tx.connection.execute("insert into effect values (1, %s)", [ctx.job.id])
            with ctx.transaction() as inner:
                inner.checkpoint("half")
            with contextlib.suppress(ZeroDivisionError), ctx.transaction():
                raise ZeroDivisionError
            tx.connection.execute("insert into effect values (2, %s)", [ctx.job.id])
        raise ConnectionError("after the outer block")

    (id,) = await stage.enqueue(app.find(place).job())
    async with working(stage.db, app):
        [job] = await stage.until_in("dead", id)

    assert "after the outer block" in str(job.error)
    assert await stage.rows("select value::text from perdure.checkpoint") == [('"half"',)]
    assert await stage.rows("select count(*), count(distinct xmin::text) from effect") == [(2, 1)]


@pytest.mark.parametrize("place", ["loop", "thread"])
async def test_a_save_that_would_wait_for_its_own_block_is_refused(stage: Stage, place: str) -> None:
    """After ``tx.checkpoint`` the block has locked the job's row, for which the worker's own save would wait for ever:
    ``ctx.checkpoint`` and ``ctx.advance`` refuse there, naming what to use, and change nothing about what is saved.
    After the block they save again [PAT-4]. Red when the context doesn't ask what its block has saved."""
    app, refused = App("a"), list[Unsupported]()
    once = Retry(max_attempts=1)

    @app.task(retry=once, timeout=20.0)
    async def loop(ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await ctx.checkpoint("first")  # nothing is locked yet
            await tx.checkpoint("second")
            for save in (ctx.checkpoint, ctx.advance):
                with pytest.raises(Unsupported) as told:
                    await save("refused")
                refused.append(told.value)
        await ctx.checkpoint("third")
        raise ConnectionError("with the third saved")

    @app.task(retry=once)
    def thread(ctx: Context) -> None:
        with ctx.transaction() as tx:
            ctx.checkpoint("first")
            tx.checkpoint("second")
            for save in (ctx.checkpoint, ctx.advance):
                with pytest.raises(Unsupported) as told:
                    save("refused")
                refused.append(told.value)
        ctx.checkpoint("third")
        raise ConnectionError("with the third saved")

    (id,) = await stage.enqueue(app.find(place).job())
    async with working(stage.db, app):
        [job] = await stage.until_in("dead", id)

    assert "with the third saved" in str(job.error)
    assert [error.field for error in refused] == ["ctx.checkpoint", "ctx.advance"]
    assert all("tx.checkpoint" in str(error.fix) for error in refused)
    assert await stage.rows("select value::text from perdure.checkpoint") == [('"third"',)]
