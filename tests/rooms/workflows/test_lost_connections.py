"""The connection of a step's transaction breaks: whose fault that was, and what becomes of the run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure import Retry, StepFailed, Workflow
from perdure.core import limits
from tests.rooms.workflows.stage import Stage

ONCE = Retry(max_attempts=1)
PAY = "insert into paid values (1)"
IDLE = "set local idle_in_transaction_session_timeout = 20"


@pytest.fixture
def paid(stage: Stage) -> Stage:
    """With a table of the application's."""
    stage.conn.execute("create table paid (id int)")
    return stage


def _end(stage: Stage, connection: Any) -> None:
    """Postgres ends the connection, as it does when it is restarted."""
    assert stage.value("select pg_terminate_backend(%s, 10000)", connection.info.backend_pid)


@pytest.mark.parametrize("form", ["block", "function", "gathered"])
@pytest.mark.parametrize("when", ["before a statement", "before the record"])
def test_a_connection_that_postgres_ends_costs_a_transaction_no_attempt(paid: Stage, form: str, when: str) -> None:
    """The connection of a transaction that may be tried once is ended, before a statement of the code's or before its
    record: nothing of it is kept, it runs anew, and commits once, at its first attempt [DW-190]. Red when what
    psycopg says of a lost connection is judged as a failure of the code."""
    stage, tries = paid, list[int]()

    async def pay(tx: Any) -> str:
        tries.append(1)
        await tx.connection.execute(PAY)
        if len(tries) == 1:
            _end(stage, tx.connection)
            if when == "before a statement":
                await tx.connection.execute(PAY)
        return "ok"

    @stage.app.workflow
    async def shop(wf: Workflow) -> Any:
        if form == "function":
            return await wf.transaction("pay", pay, retry=ONCE)
        if form == "gathered":
            async with wf.gather() as group:
                paying = group.transaction("pay", pay, retry=ONCE)
            return paying.result
        async with (block := wf.transaction("pay", retry=ONCE)) as tx:
            tx.keep(await pay(tx))
        return block.kept

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == "ok"
        assert (await stage.timeline())["pay"].attempt == 1

    asyncio.run(play())
    assert len(tries) == 2
    assert stage.rows("select id from paid") == [(1,)]


def test_a_transaction_that_is_ended_for_being_idle_has_failed(paid: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction does nothing for so long that Postgres ends it, each time: that is a failure of the code, and its
    policy counts it [DW-190]. Red when every lost connection is nobody's fault: then the run begins for ever."""
    stage = paid
    monkeypatch.setattr(limits, "HANDLER_IDLE_SECONDS", 0.02)

    @stage.app.workflow
    async def shop(wf: Workflow) -> str:
        try:
            async with wf.transaction("pay", retry=Retry(max_attempts=2, delays=(0.01,))) as tx:
                await tx.connection.execute(PAY)
                await tx.connection.execute(IDLE)  # the last thing: a statement after it may find the connection gone
                await stage.until_true(
                    f"select not exists (select from pg_stat_activity where pid = {tx.connection.info.backend_pid})"
                )
        except StepFailed as error:
            return f"{error.step} {error.kind}"
        return "paid"

    async def play() -> None:
        async with stage.working():
            assert await stage.run(shop.run()) == "pay ConnectionLost"
        assert (await stage.timeline())["pay"].attempt == 2

    asyncio.run(play())
    assert stage.rows("select id from paid") == []
