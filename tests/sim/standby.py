"""The server that takes over: a copy of the tables and sequences as they were at one commit, kept in the same database.

That is what a standby has whose log ends there: every transaction that had committed by then, no other, and sequences
as the log had them, which may be some numbers ahead of those given.
"""

from __future__ import annotations

from random import Random
from typing import Any

import asyncpg

LOGGED_AHEAD = 32
"""A sequence is written to the log once for so many numbers: the standby goes on after them, or where they end."""

WORKERS = "worker_id_seq"
"""The numbers of workers don't come again here: two processes of one number would each take the other's row for its
own. It takes a registration that is lost just when the log of its sequence had come to its end."""

MAKE = """
create schema standby;
do $$ declare name text; begin
    for name in select c.relname from pg_class c where c.relnamespace = 'perdure'::regnamespace
                and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> 'migration'
    loop execute format('create table standby.%1$I (like perdure.%1$I)', name); end loop;
end $$
"""
COPIES = """
select format('create or replace function standby.%s() returns void language plpgsql as $do$ begin %s end $do$', act,
              string_agg(format('delete from %1$I.%2$I; '
                                'insert into %1$I.%2$I overriding system value select * from %3$I.%2$I;',
                                into_, c.relname, from_), ' ' order by c.relname))
from pg_class c, (values ('save', 'standby', 'perdure'), ('restore', 'perdure', 'standby')) as t(act, into_, from_)
where c.relnamespace = 'standby'::regnamespace and c.relkind = 'r'
group by act
"""
SEQUENCES = """
select relname from pg_class where relnamespace = 'perdure'::regnamespace and relkind = 'S' and relname <> 'sim_clock'
order by relname
"""
UNLOGGED = "select relname from pg_class where relnamespace = 'perdure'::regnamespace and relpersistence = 'u'"
SET = """
select setval('perdure.' || name, last, called)
from unnest($1::text[], $2::bigint[], $3::bool[]) as t(name, last, called)
"""


class Standby:
    """The copy. ``conn``: a session in autocommit mode that triggers and references don't hinder."""

    def __init__(self, conn: asyncpg.Connection[Any]) -> None:
        self._conn = conn

    async def open(self) -> Standby:
        """Make its place, once for each server."""
        conn = self._conn
        if await conn.fetchval("select to_regnamespace('standby')") is None:
            assert not await conn.fetch(UNLOGGED), "a standby has nothing in such a table"
            await conn.execute(MAKE)
            for (text,) in await conn.fetch(COPIES):
                await conn.execute(text)
        names = [name for (name,) in await conn.fetch(SEQUENCES)]
        read = " union all ".join(f"select '{name}', last_value, is_called from perdure.{name}" for name in names)
        self._save, self._restore = [await conn.prepare(f"select standby.{act}()") for act in ("save", "restore")]
        self._read, self._set = await conn.prepare(read), await conn.prepare(SET)
        return self

    async def save(self) -> None:
        """It has all that has committed by now, and hears of nothing after this."""
        await self._save.fetch()
        self._given = await self._read.fetch()

    async def restore(self, dice: Random) -> None:
        """It is the server now. Whoever had a transaction open must have rolled it back."""
        await self._restore.fetch()
        ahead = [dice.choice((0, 0, 0, 1, LOGGED_AHEAD)) for _ in self._given]
        names = [name for name, _, _ in self._given]
        ahead = [LOGGED_AHEAD if name == WORKERS else more for name, more in zip(names, ahead, strict=True)]
        last = [value + more for (_, value, _), more in zip(self._given, ahead, strict=True)]
        called = [was or more > 0 for (_, _, was), more in zip(self._given, ahead, strict=True)]
        await self._set.fetch(names, last, called)
