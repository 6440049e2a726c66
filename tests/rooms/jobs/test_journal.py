"""The journal on a real connection: group commits, each caller with an answer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from perdure.core.errors import InvalidInput, LockTimeout, ServerUnavailable, StatementRefused
from perdure.core.op import Op, Statement, rows
from perdure.jobs.loops.journal import Journal
from perdure.pg.link import Link
from tests.conftest import Database

TABLE = "create table entry (key text primary key, value int not null check (value >= 0))"
WRITE: Statement[str] = Statement(
    "test.write",
    "insert into entry (key, value) select * from unnest(%(keys)s::text[], %(values)s::int[]) "
    "on conflict (key) do update set value = excluded.value returning key",
    lambda row: str(row["key"]),
)
END_WAITING = (
    "select pg_terminate_backend(pid, 10000)::int from pg_stat_activity "
    "where datname = current_database() and wait_event_type = 'Lock'"
)
Entry = tuple[str, int]
Answers = Sequence[str | Exception]


def _write(entries: Sequence[Entry]) -> Op[Answers]:
    yield from rows(WRITE, keys=[key for key, _ in entries], values=[value for _, value in entries])
    return [f"wrote {key}" for key, _ in entries]


@asynccontextmanager
async def _journal(
    db: Database, write: Callable[[Sequence[Entry]], Op[Answers]] = _write
) -> AsyncIterator[tuple[Journal[Entry, str], Link]]:
    db.connect().execute(TABLE)
    link = Link(db.url, "perdure", "settle")
    journal: Journal[Entry, str] = Journal(link, write)
    running = asyncio.create_task(journal.run())
    try:
        yield journal, link
    finally:
        running.cancel()
        await asyncio.wait([running])
        await link.close()


def _written(db: Database) -> dict[str, int]:
    return dict(db.connect().execute("select key, value from entry").fetchall())


async def test_entries_of_many_callers_share_a_commit(db: Database) -> None:
    """Callers that write at the same time share a few statements, each gets its own answer, and when it has it, its
    entry is in the table for everybody. Red when a caller is answered before its commit."""
    async with _journal(db) as (journal, _):
        reader = db.connect()

        async def write(number: int) -> bool:
            answer = await journal.put((f"k{number}", number))
            there = reader.execute("select value from entry where key = %s", [f"k{number}"]).fetchone()
            return answer == f"wrote k{number}" and there == (number,)

        assert all(await asyncio.gather(*[write(number) for number in range(200)]))
        assert journal.written == 200
        assert journal.batches <= 3


async def test_a_bad_entry_fails_its_caller_only(db: Database) -> None:
    """An entry that Postgres refuses is told to whoever wrote it; its mates are written. Red without the halving."""
    async with _journal(db) as (journal, _):
        answers = await asyncio.gather(
            *[journal.put((f"k{n}", -1 if n == 13 else n)) for n in range(30)], return_exceptions=True
        )

        assert [n for n, answer in enumerate(answers) if isinstance(answer, StatementRefused)] == [13]
        assert sorted(_written(db)) == sorted(f"k{n}" for n in range(30) if n != 13)


async def test_an_answer_that_is_an_error_is_raised_to_its_caller_alone(db: Database) -> None:
    """What the write has to say about one entry, that its fence is stale say, the others don't hear."""

    def write(entries: Sequence[Entry]) -> Op[Answers]:
        answers = yield from _write(entries)
        return [
            InvalidInput("stale") if key == "old" else answer for (key, _), answer in zip(entries, answers, strict=True)
        ]

    async with _journal(db, write) as (journal, _):
        new, old = await asyncio.gather(journal.put(("new", 1)), journal.put(("old", 1)), return_exceptions=True)

        assert new == "wrote new"
        assert isinstance(old, InvalidInput)


async def test_a_broken_connection_is_written_again_with_the_same_values(db: Database) -> None:
    """The session ends under a write: nobody is told, everything is written. Red when a transient error is handed to
    the callers."""
    async with _journal(db) as (journal, link):
        blocker, looker = db.connect(), db.connect()
        blocker.execute("begin")
        blocker.execute("lock table entry in share mode")
        writing = [asyncio.create_task(journal.put(("k0", 0)))]
        ended: list[tuple[int]] = []
        while not ended:
            await asyncio.sleep(0.01)
            ended = looker.execute(END_WAITING).fetchall()  # a transaction would see for ever what it saw at first
        writing += [asyncio.create_task(journal.put((f"k{n}", n))) for n in range(1, 10)]
        blocker.execute("commit")

        assert sorted(await asyncio.gather(*writing)) == sorted(f"wrote k{n}" for n in range(10))
        assert len(_written(db)) == 10
        assert link.connects >= 2


async def test_an_entry_that_a_lock_is_in_the_way_of_holds_up_no_other(db: Database) -> None:
    """An entry answered with a transient error is put aside and written later, while others go on. Red when it is
    repeated at once in front of them."""
    free = asyncio.Event()

    def write(entries: Sequence[Entry]) -> Op[Answers]:
        good = [entry for entry in entries if entry[0] != "locked" or free.is_set()]
        if good:
            yield from _write(good)
        return ["written" if entry in good else LockTimeout("locked") for entry in entries]

    async with _journal(db, write) as (journal, _):
        locked = asyncio.create_task(journal.put(("locked", 1)))
        for n in range(3):
            assert await journal.put((f"k{n}", n)) == "written"
        assert not locked.done()
        free.set()
        assert await locked == "written"


async def test_a_journal_that_ends_says_so_to_whoever_still_waits(db: Database) -> None:
    """Nobody waits for ever for a worker that has left, and later callers are refused. Red without the answers at the
    end of ``run``."""
    tried = asyncio.Event()

    def write(entries: Sequence[Entry]) -> Op[Answers]:
        yield from ()
        tried.set()
        return [LockTimeout("locked") for _ in entries]

    async with _journal(db, write) as (journal, _):
        waiting = [asyncio.create_task(journal.put((f"k{n}", n))) for n in range(3)]
        await tried.wait()
    for each in waiting:
        with pytest.raises(ServerUnavailable):
            await each
    with pytest.raises(ServerUnavailable):
        await journal.put(("late", 1))


async def test_a_thread_waits_for_its_entry_to_be_durable(db: Database) -> None:
    """A handler in a thread writes in the same groups, and waits where it is."""
    async with _journal(db) as (journal, _):
        assert await asyncio.to_thread(journal.put_from_thread, ("k", 7)) == "wrote k"
        assert _written(db) == {"k": 7}
