"""The stand of the simulator: real sessions of one real Postgres, of which one at a time does something.

A statement that has been sent comes back, or waits for a lock that another session holds; the next step begins when
Postgres itself says so of each. What waits goes on in a later step, when somebody has let go: a wait is not your turn
yet. Time is a number that only ``jump`` moves: the statements are the product's own, with the server's clock put for a
function that reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from perdure.core.op import Call, Statement
from perdure.pg.errors import translate
from perdure.pg.link import PLANS
from perdure.sql import in_schema, numbered
from tests.sim.standby import Standby
from tests.sim.truth import TABLES, Truth

CLOCK = """
create sequence perdure.sim_clock;
create function perdure.sim_now() returns timestamptz language sql volatile as $$
    select timestamptz '2001-01-01 00:00:00+00' + pg_sequence_last_value('perdure.sim_clock'::regclass)
           * interval '1 microsecond' $$;
insert into perdure.queue (name) values ('default') on conflict do nothing
"""
SERVER = {
    "autovacuum": "off",
    "deadlock_timeout": "50ms",
    # Nobody crashes this server, so nothing has to be on its disk.
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "track_activities": "off",
    "track_counts": "off",
    "update_process_title": "off",
}
"""Settings of a server whose every act is somebody's step."""

CLOCKS = ("clock_timestamp()", "statement_timestamp()")
CLEAR = """
select format('create or replace function perdure.sim_clear() returns void language plpgsql as $do$ begin %s'
              ' perform %s; update perdure.queue set paused_at = null where paused_at is not null; end $do$',
  (select string_agg(format('delete from %s; ', c.oid::regclass), '' order by c.relname) from pg_class c
   where c.relnamespace = 'perdure'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
     and c.relname not in ('queue', 'migration')),
  (select string_agg(format('setval(%L, 1, %L)', c.oid::regclass, c.relname = 'sim_clock'), ', ' order by c.relname)
   from pg_class c
   where c.relnamespace = 'perdure'::regnamespace and c.relkind = 'S' and c.relname not like 'queue%'))
"""
RUNNING = "select pid from unnest($1::int[]) as pid where pg_blocking_pids(pid) = '{}'"
VACUUM_EVERY = 100
"""Runs between two vacuums: nobody else does it here, and the tables are emptied row by row."""

SOON_SECONDS = 0.001
"""How long a statement may take before Postgres is asked whether it waits. No outcome depends on it."""


@dataclass(eq=False)
class Session:
    """One connection. ``sent`` is the statement under way; a done one is taken by ``take``. ``used``: its transaction
    has done something, and may hold a snapshot."""

    number: int
    conn: asyncpg.Connection[Any]
    sent: asyncio.Task[Any] | None = None
    used: bool = False

    @property
    def pid(self) -> int:
        """The backend's."""
        return self.conn.get_server_pid()

    @property
    def waits(self) -> bool:
        """Whether the statement under way waits for somebody."""
        return self.sent is not None and not self.sent.done()

    def take(self) -> Sequence[Mapping[str, Any]]:
        """What the statement brought; raises one of ``core.errors``."""
        task, self.sent = self.sent, None
        assert task is not None
        try:
            rows: Sequence[Mapping[str, Any]] = task.result()
        except Exception as error:
            ours = translate(error)
            raise (error if ours is None else ours) from error
        return rows


@dataclass
class Stand:
    """The database, its sessions and its clock. ``alone``: a session in autocommit mode, for when nobody else is about.
    ``edits``: text put for text in statements, by name: planted bugs."""

    url: str
    edits: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    schema: str = "perdure"
    sessions: list[Session] = field(default_factory=list)
    now: float = 0.0
    calls: int = 0
    _texts: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    _spare: list[Session] = field(default_factory=list)
    _runs: int = 0
    _dirty: bool = False
    _closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open(self) -> Stand:
        """Connect the session that watches, and make the clock if it isn't there."""
        self.watch = await self._connect()
        if await self.watch.fetchval("select to_regclass('perdure.sim_clock')") is None:
            await self.watch.execute(CLOCK)
        await self.watch.execute(await self.watch.fetchval(CLEAR))
        await self.watch.execute("set session_replication_role = replica")  # everything goes, so nothing can dangle
        await self.watch.execute("set enable_seqscan = on")
        self._clear = await self.watch.prepare("select perdure.sim_clear()")
        self._truth = await self.watch.prepare(TABLES)
        self._running = await self.watch.prepare(RUNNING)
        self.standby = await Standby(self.watch).open()
        self.alone = Session(-1, await self._connect())
        self.queue = int(await self.watch.fetchval("select id from perdure.queue where name = 'default'"))
        return self

    async def close(self) -> None:
        """Close every session."""
        for session in [*self.sessions, self.alone]:
            session.conn.terminate()
            if session.sent is not None:
                await asyncio.wait({session.sent})
        await self._closing.aclose()

    async def _connect(self) -> asyncpg.Connection[Any]:
        conn = await asyncpg.connect(self.url, server_settings={**PLANS, "plan_cache_mode": "force_generic_plan"})
        self._closing.callback(conn.terminate)
        return conn

    async def clear(self, edits: Mapping[str, tuple[str, str]]) -> None:
        """Empty everything for a new run, with these edits."""
        if self._dirty:
            await self._let_go()
        self._dirty = True
        for session in self.sessions:
            if session.used:  # what it has read last keeps a snapshot, and so what is deleted would stay
                await self.end(session, "rollback")
        await self._clear.fetch()
        self._runs += 1
        if self._runs % VACUUM_EVERY == 0:
            await self.watch.execute("vacuum")
        if edits != self.edits:
            self.edits, self._texts = edits, {}
        self.now, self.calls = 0.0, 0
        self._spare = sorted(self.sessions, key=lambda session: session.number, reverse=True)

    def cleared(self) -> None:
        """Note that the run has ended well: no session holds anything."""
        self._dirty = False

    async def _let_go(self) -> None:
        """After a run that failed: nothing is under way any more."""
        for session in [*self.sessions, self.alone]:
            if session.sent is not None:
                await self.watch.fetchval("select pg_cancel_backend($1)", session.pid)
                await asyncio.wait({session.sent})
                session.sent.exception()
                session.sent = None
        for session in self.sessions:
            await session.conn.execute("rollback and chain")
        await self.alone.conn.execute("rollback")

    async def deadlock(self) -> None:
        """Wait until Postgres has ended one of the statements that wait."""
        waiting = [session.sent for session in self.sessions if session.sent is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=5.0, return_when=asyncio.FIRST_COMPLETED)

    async def session(self) -> Session:
        """A session that nobody uses, in an open transaction that has done nothing yet."""
        if not self._spare:
            self._spare.append(Session(len(self.sessions), await self._connect()))
            self.sessions.append(self._spare[0])
            await self._spare[0].conn.execute("begin")
        return self._spare.pop()

    def give_back(self, session: Session) -> None:
        """Somebody else may use it now."""
        self._spare.append(session)

    async def send(self, session: Session, call: Call) -> None:
        """Send the statement; returns when it has come back or waits."""
        text, names = self._text(call.statement)
        self.calls += 1
        session.used = True
        session.sent = asyncio.ensure_future(session.conn.fetch(text, *[call.params[name] for name in names]))
        await asyncio.wait({session.sent}, timeout=SOON_SECONDS)
        await self._calm([session])  # whoever waits goes on waiting: no lock is let go before the end

    async def end(self, session: Session, how: str) -> None:
        """Commit or roll back; the next transaction is open at once."""
        await session.conn.execute(f"{how} and chain")
        session.used = False
        await self._calm(self.sessions)

    async def hang_up(self, session: Session) -> None:
        """The server behind it is gone: whatever it had under way hasn't happened."""
        if session.sent is not None:
            await self.cancel(session)
        elif session.used:
            await self.end(session, "rollback")

    async def cancel(self, session: Session) -> None:
        """End the statement under way, as a lock timeout would."""
        assert session.sent is not None
        await self.watch.fetchval("select pg_cancel_backend($1)", session.pid)
        await asyncio.wait({session.sent})
        session.sent.exception()
        session.sent = None
        await self.end(session, "rollback")

    async def _calm(self, sessions: Sequence[Session]) -> None:
        """Wait until every statement of theirs has come back, or waits for a session that does nothing."""
        while busy := [session for session in sessions if session.waits]:
            if not await self._running.fetch([session.pid for session in busy]):
                return
            await asyncio.wait([session.sent for session in busy if session.sent is not None], timeout=SOON_SECONDS)

    async def jump(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        await self.watch.fetchval("select setval('perdure.sim_clock', $1)", 1 + round(self.now * 1e6))

    async def truth(self) -> Truth:
        """What is committed now."""
        return Truth.read((await self._truth.fetch())[0].values())

    def _text(self, statement: Statement[Any]) -> tuple[str, tuple[str, ...]]:
        found = self._texts.get(statement.name)
        if found is None:
            text = statement.text
            if statement.name in self.edits:
                old, new = self.edits[statement.name]
                assert old in text, f"{statement.name} doesn't say {old!r}"
                text = text.replace(old, new)
            for clock in CLOCKS:
                text = text.replace(clock, "perdure.sim_now()")
            edited: Statement[Any] = Statement(statement.name, in_schema(text, self.schema), statement.read)
            found = self._texts[statement.name] = numbered(edited, self.schema)
        return found
