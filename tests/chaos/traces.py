"""What steps leave behind: a row for every try, and an effect that is one by its key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

R = TypeVar("R")

TABLES = """
create table tried (run text not null, step text not null, pid int not null,
                    at timestamptz not null default clock_timestamp());
create table done (run text not null, step text not null, primary key (run, step));
create table paid (run text primary key);
create table booked (run text not null, step text not null, refused boolean not null default false);
create function bounced() returns trigger language plpgsql as 'begin raise exception ''bounced''; end';
create constraint trigger bounced after insert on booked deferrable initially deferred
    for each row when (new.refused) execute function bounced()
"""
"""``booked`` has no key: what is written into it twice stands there twice. What is to be refused is when it commits."""

RECORDED = """
create table recorded (run text not null, round int not null, name text not null, state text not null);
create function keep_record() returns trigger language plpgsql as '
begin
    insert into public.recorded
    select r.id, r.round, new.name, new.state from perdure.run r where r.job = new.run;
    return null;
end';
create trigger keep_record after insert or update on perdure.step
    for each row when (new.ended_at is not null) execute function keep_record()
"""
"""Keeps how each step was recorded, in the transaction that records it: the next round forgets it."""

RECORDED_AGAIN = "select run, round, name from recorded group by run, round, name having count(*) > 1"
"""Steps whose end was recorded more than once."""

TRIED_AGAIN = (
    "select t.run, t.step from tried t join perdure.run r on r.id = t.run join perdure.step s on s.run = r.job "
    "and s.name = t.step where t.at > s.ended_at + "
    "case when s.state = 'cancelled' or s.outcome ->> 'kind' = 'TimeoutError' then interval '5 s' else '0' end"
)
"""Steps that were tried after they had been recorded. What a step had sent when it was stopped may still be written."""


class _Ledger:
    """One connection for all steps of this process."""

    def __init__(self) -> None:
        self._conn: asyncpg.Connection[asyncpg.Record] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, query: str, *values: Any) -> Any:
        """The first value of what the query brings."""
        async with self._turn:
            if self._conn is None or self._conn.is_closed():
                named = {"application_name": f"till {os.getpid()}"}
                self._conn = await asyncpg.connect(os.environ["EFFECTS_URL"], server_settings=named)
            return await self._conn.fetchval(query, *values)


_ledger = _Ledger()


async def enter(run: str, step: str) -> None:
    """Keep that a step was tried, and its effect, which happens once."""
    await _ledger.ask(
        "with t as (insert into tried (run, step, pid) values ($1, $2, $3)) "
        "insert into done (run, step) values ($1, $2) on conflict do nothing",
        run, step, os.getpid(),
    )  # fmt: skip


async def is_paid(run: str) -> bool:
    """Whether the test has paid the run."""
    return bool(await _ledger.ask("select exists (select from paid where run = $1)", run))


async def act(run: str, step: str, result: Any = None) -> Any:
    """A step's work."""
    await enter(run, step)
    return result


async def undo(run: str, step: str, *_: Any) -> None:
    """The compensation of a step, which is given what the step was given."""
    await enter(run, f"undo {step}")


async def _patiently(ask: Callable[..., Awaitable[R]], *values: Any) -> R:
    """What it returns, of a step that fails for no other reason than its own: a server that is away is waited for."""
    while True:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            return await ask(*values)
        await asyncio.sleep(0.05)


async def stumble(run: str, step: str) -> None:
    """A step that fails for good."""
    await _patiently(enter, run, step)
    raise ValueError(step)


async def falter(run: str, step: str, tries: int) -> int:
    """A step that succeeds once it has been tried so often."""
    await enter(run, step)
    tried = await _ledger.ask("select count(*) from tried where run = $1 and step = $2", run, step)
    if tried < tries:
        raise ValueError(f"{tried} of {tries}")
    return tries


async def hang(run: str, step: str, result: Any = None) -> Any:
    """A step's work that takes for ever, unless its run is paid."""
    await _patiently(enter, run, step)
    if not await _patiently(is_paid, run):
        await asyncio.Event().wait()
    return result
