"""Inside the block of a transaction code awaits what it likes, and is told of cancellations as anywhere."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from perdure import Retry, StepFailed, Workflow
from perdure.core.errors import Unsupported
from tests.rooms.worker.stage import BOUND_SECONDS
from tests.rooms.workflows.stage import Stage

TWICE = Retry(max_attempts=2, delays=(0.02,), jitter="none")


def test_a_block_may_bound_what_it_waits_for(stage: Stage) -> None:
    """A time-out of the code's own inside a block, and a task that it cancels itself, reach the code, which goes on:
    the block commits, at the first attempt [DW-190]. Red when a cancellation isn't handed to the code: then the run
    begins again and again."""
    stage.conn.execute("create table paid (id int)")

    @stage.app.workflow
    async def shop(wf: Workflow) -> list[str]:
        said = []
        async with wf.transaction("pay") as tx:
            await tx.connection.execute("insert into paid values (1)")
            try:
                async with asyncio.timeout(0.02):
                    await asyncio.Event().wait()
            except TimeoutError:
                said.append("late")
            task = asyncio.ensure_future(asyncio.Event().wait())
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
                said.append("never")
            tx.keep(said)
        return said

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == ["late"]
        assert (await stage.timeline())["pay"].attempt == 1

    asyncio.run(play())
    assert stage.rows("select id from paid") == [(1,)]


def test_the_transaction_of_a_block_ends_with_it(stage: Stage) -> None:
    """What still holds the transaction of a block, or of a step's function, after it is refused. Red when it isn't let
    go of before it commits."""
    stage.conn.execute("create table paid (id int)")

    async def pay(tx: Any) -> None:
        kept.append(tx)

    kept: list[Any] = []

    @stage.app.workflow
    async def shop(wf: Workflow) -> None:
        async with wf.transaction("pay") as tx:
            await tx.connection.execute("insert into paid values (1)")
            await pay(tx)
        await wf.transaction("again", pay)

    async def play() -> None:
        async with stage.working():
            await stage.run(shop.run())
            for tx in kept:
                with pytest.raises(Unsupported, match="has ended"):
                    await tx.jobs.cancel(1)
                with pytest.raises(Unsupported, match="has ended"):
                    await tx.connection.execute("insert into paid values (2)")

    asyncio.run(play())
    assert len(kept) >= 2
    assert stage.rows("select id from paid") == [(1,)]


def test_a_cancellation_that_was_born_in_a_block_is_its_failure(stage: Stage) -> None:
    """What the code awaits in a block is cancelled, and it doesn't catch that: the block is rolled back, tried again by
    its policy, and what it has failed with is raised, as of a step [DW-190]. Red when it is taken for the run's."""
    stage.conn.execute("create table paid (id int)")

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            async with wf.transaction("pay", retry=TWICE) as tx:
                await tx.connection.execute("insert into paid values (1)")
                await stage.do("pay")
                task = asyncio.ensure_future(asyncio.Event().wait())
                task.cancel()
                await task
        except StepFailed as error:
            return str(error)
        return "paid"

    async def play() -> None:
        async with stage.working():
            assert "something that the block waited for was cancelled" in await stage.run(shop.run())

    asyncio.run(play())
    assert stage.did == ["pay", "pay"]
    assert stage.rows("select id from paid") == []


def test_a_worker_that_goes_stops_a_block_that_waits(stage: Stage) -> None:
    """A worker is stopped while a run awaits something in a block, and the code swallows the cancellation: the block is
    rolled back all the same, and done once, by the next worker [DW-190, DW-194]. Red when what came from outside is
    left to the code."""
    begun = asyncio.Event()
    stage.conn.execute("create table paid (id int)")

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        async with wf.transaction("pay") as tx:
            await tx.connection.execute("insert into paid values (1)")
            await stage.do("pay")
            begun.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60 if len(stage.did) == 1 else 0)
        return "paid"

    async def play() -> None:
        await stage.start(shop.run())
        async with stage.working(drain_seconds=0.1):
            await asyncio.wait_for(begun.wait(), BOUND_SECONDS)
        assert stage.rows("select id from paid") == []
        async with stage.working():
            assert await stage.result() == "paid"

    asyncio.run(play())
    assert stage.did == ["pay", "pay"]
    assert stage.rows("select id from paid") == [(1,)]
