"""A rolling upgrade, rehearsed: the release before and this one work side by side on one database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, JobSpec
from perdure.pg.migrate import migrate, plan
from tests.chaos.floor import until
from tests.conftest import Database
from tests.upgrade.previous import Program, unpacked

SHOP = """\
import asyncio, os, asyncpg
from perdure import App, Context, Retry

app = App("shop")

@app.task(retry=Retry(max_attempts=50, delays=(0.1,) * 49, jitter="none"))
async def sell(ctx: Context, seconds: float) -> None:
    await asyncio.sleep(seconds)
    conn = await asyncpg.connect(os.environ["DATABASE_URL"])
    try:
        await conn.execute("insert into effect values ($1, $2)", ctx.job.id, ctx.fence.generation)
    finally:
        await conn.close()
"""

PRODUCER = """\
import os, sys, time
from perdure import Client
from shop import sell

with Client() as client:
    while not os.path.exists(sys.argv[1]):
        print(client.jobs.enqueue(sell.job(seconds=0.05), key="k", tags=["old"]).id, flush=True)
        time.sleep(0.02)
"""


class Fleet:
    """Programs of two releases on one database."""

    def __init__(self, db: Database, home: Path) -> None:
        self.db, self.home, self.old = db, home, unpacked(home / "previous")
        self.conn = db.connect()
        (home / "shop.py").write_text(SHOP)
        (home / "producer.py").write_text(PRODUCER)
        self._closing = ExitStack()
        self.programs: list[Program] = []

    def start(self, release: Path | None, *words: str) -> Program:
        """Start a program, which doesn't outlive the test."""
        log = self._closing.enter_context((self.home / f"{len(self.programs)}.log").open("w"))
        program = Program(release, self.db.url, self.home, log, *words)
        self._closing.callback(program.kill)
        self.programs.append(program)
        return program

    def worker(self, release: Path | None) -> Program:
        """A worker that has registered."""
        program = self.start(release, "-m", "perdure", "worker", "shop:app", "--queues", "default:8")
        self.until("select exists (select from perdure.worker where pid = %s)", program.process.pid)
        return program

    def value(self, query: str, *params: object) -> Any:
        """The first column of the first row."""
        row = self.conn.execute(query.encode(), params).fetchone()
        assert row is not None
        return row[0]

    def until(self, query: str, *params: object) -> None:
        """Wait until the query's one value is true."""
        until(lambda: self.value(query, *params), lambda: f"{query}\n{self.logs()}")

    def settles(self) -> None:
        """Wait until some more jobs have ended than by now."""
        now = self.value("select count(*) from perdure.history")
        self.until("select count(*) > %s from perdure.history", now + 20)

    def logs(self) -> str:
        """What the programs have said."""
        return "\n".join(f"--- {program.log.name}\n{program.said()[-4000:]}" for program in self.programs)

    def close(self) -> None:
        """Kill what still runs."""
        self._closing.close()


@pytest.fixture
def fleet(empty_db: Database, tmp_path: Path) -> Iterator[Fleet]:
    """An empty database and no process yet."""
    fleet = Fleet(empty_db, tmp_path)
    yield fleet
    fleet.close()


def test_a_rolling_upgrade_stops_nobody_and_loses_nothing(fleet: Fleet) -> None:
    """A fleet of the release before enqueues and works while this release migrates its database, joins it, and takes
    over: workers of either are killed and rescued by the other, old ones drain and leave, and every job of either is
    settled once, no attempt charged, nobody stopped; a worker of this release that comes before its migration is told
    so and touches nothing [DW-174, ARC-56]. Red when a migration isn't one that old code works on, or
    a statement of either meets a row of the other that it can't read."""
    assert fleet.start(fleet.old, "-m", "perdure", "migrate").wait() == 0, fleet.logs()
    fleet.conn.execute("create table effect (job bigint not null, generation int not null)")
    stays, dies = fleet.worker(fleet.old), fleet.worker(fleet.old)
    producer = fleet.start(fleet.old, "producer.py", str(fleet.home / "enough"))
    fleet.settles()

    early = fleet.start(None, "-m", "perdure", "worker", "shop:app")
    assert early.wait() != 0
    assert "run `perdure migrate`" in early.said()
    fleet.settles()

    assert {migration.phase for migration in plan(fleet.conn)} == {"pre"}
    migrate(fleet.conn, pre_only=True)
    fleet.settles()
    new, short = fleet.worker(None), fleet.worker(None)
    fleet.settles()
    dies.kill()
    fleet.settles()
    short.kill()
    fleet.settles()
    with Client(fleet.db.url) as client:
        sell = JobSpec(task="sell", payload='{"seconds": 0.05}')
        ours = [client.jobs.enqueue(sell, context={"tenant": "acme"}).id for _ in range(20)]
    fleet.settles()
    (fleet.home / "enough").touch()
    assert producer.wait() == 0, fleet.logs()
    assert stays.stop() == 0, fleet.logs()
    assert producer.said(), "the producer enqueued nothing"
    ids = [*map(int, producer.said().split()), *ours]
    fleet.until("select count(*) >= %s from perdure.history", len(ids))
    assert new.stop() == 0, fleet.logs()

    ended = fleet.conn.execute("select id, count(*), min(outcome), max(attempt) from perdure.history group by id")
    assert {id: tuple(rest) for id, *rest in ended} == dict.fromkeys(ids, (1, "completed", 1)), fleet.logs()
    assert fleet.value("select count(*) from perdure.job") == 0
    assert fleet.value("select count(distinct job) from effect") == len(ids)
    twice = "select job from effect group by job having count(*) > count(distinct generation)"
    assert fleet.conn.execute(twice).fetchall() == []
    assert "Traceback" not in fleet.logs()
