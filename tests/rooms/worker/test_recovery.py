"""What a worker does when it no longer knows what it holds, when it was given up, and when others hold its jobs up."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import psycopg

from perdure.app.registry import App
from perdure.core.errors import ConnectionLost
from perdure.fleet.model import Beat
from perdure.jobs.floors import Floor
from perdure.jobs.ops import claim
from tests.chaos.proxy import Proxy
from tests.conftest import Database
from tests.rooms.worker.stage import Stage, until, working

END_CLAIM_SESSION = (
    "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity "
    "where application_name ~ '^perdure-claim ' and datname = current_database()"
)
ORPHANS = (
    "select count(*) from perdure.jobs j where place = 'leased' "
    "and not exists (select from perdure.lease l where j.id = any(l.jobs))"
)


async def test_a_recovery_drops_no_lease_that_has_jobs_left(db: Database) -> None:
    """The claim session ends again and again while jobs settle: every leased job stays in a lease row, so that it would
    be rescued. Red when recovery judges job by job: one that settles meanwhile takes its mates' lease along."""
    stage, app, release = Stage(db), App("a"), asyncio.Event()
    dice = random.Random(9)

    @app.task
    async def mixed(seconds: float) -> None:
        await asyncio.sleep(seconds)

    @app.task
    async def last() -> None:
        await release.wait()

    async with working(db, app, queues={"default": 200}) as worker:
        ids, claimer, me = [], worker._claimer, worker._me
        for incarnation in range(1, 9):
            specs = [mixed.job(dice.choice([0.0, 0.001, 0.003, 0.01])) for _ in range(150)] + [last.job()] * 5
            dice.shuffle(specs)
            ids += await stage.enqueue(*specs)
            await stage.value(END_CLAIM_SESSION)
            # Done with: a session that ends within a recovery makes no second one of it.
            await until(lambda n=incarnation: me.incarnation >= n and not claimer.recovering)  # type: ignore[misc]
            assert await stage.value(ORPHANS) == 0
        release.set()

        await stage.until_all_in("history", ids)
        assert await stage.value("select max(attempt) from perdure.history") == 1


async def test_a_claim_whose_answer_was_lost_is_given_back(db: Database) -> None:
    """A lease that the worker has never heard of goes back without an attempt, and its job runs. Red without the
    giving back of unknown leases: the job would wait for this worker's end."""
    stage, app, release = Stage(db), App("a"), asyncio.Event()

    @app.task
    async def hold() -> None:
        await release.wait()

    async with working(db, app, queues={"default": 1}) as worker:
        first, second = [(await stage.enqueue(hold.job()))[0] for _ in range(2)]
        await until(lambda: worker._runners[0].running == 1)
        # What the server does for a claim of this worker whose connection breaks before the answer.
        floor = Floor(worker._intakes[0].floor.lanes)
        lost = await stage.ask(claim.claim(worker.id, worker._me.incarnation, worker._intakes[0].id, floor, 10))
        assert lost is not None
        assert [job.id for job in lost.jobs] == [second]
        await stage.value(END_CLAIM_SESSION)

        await stage.until_in("ready", second)
        release.set()
        await stage.until_all_in("history", [first, second])
        assert [(a.ending, a.attempt) for a in await stage.attempts(second)] == [("returned", 0)]


async def test_a_job_locked_by_somebody_else_holds_up_no_other(db: Database) -> None:
    """While a transaction holds the row of one job that has ended, its mates are settled; it is, once that is
    over, and none is charged for it [OPS-22]. Red when a flush waits for all of its jobs: nothing is settled until the
    other transaction ends."""
    stage, app, release = Stage(db), App("a"), asyncio.Event()

    @app.task
    async def hold() -> None:
        await release.wait()

    async with working(db, app):
        ids = await stage.enqueue(*[hold.job() for _ in range(20)])
        await stage.until_all_in("leased", ids)
        with psycopg.connect(db.url) as other:
            other.execute("select from perdure.job where id = %s for update", [ids[7]])
            release.set()
            await stage.until_all_in("history", [id for id in ids if id != ids[7]])
            later = await stage.enqueue(*[hold.job() for _ in range(20)])
            await stage.until_all_in("history", later)
            assert (await stage.job(ids[7])).place == "leased"
            assert await stage.value(ORPHANS) == 0
        await stage.until_all_in("history", ids)
        await stage.until_true("select not exists (select from perdure.lease)")
    assert await stage.rows("select distinct attempt, outcome from perdure.history") == [(1, "completed")]


async def test_a_worker_given_up_begins_anew_once(db: Database) -> None:
    """However many beats find its row dead while it registers, there is one new row, and it is the one that beats."""
    stage, app, beats = Stage(db), App("a"), list[Beat | None]()

    @app.task
    async def work() -> None: ...

    async with working(db, app) as worker:
        first, hand_over = worker.id, worker._heart._on_beat

        def counted(id: int, beat: Beat | None) -> None:
            beats.append(beat)
            hand_over(id, beat)

        worker._heart._on_beat = counted
        async with worker._links["chores"]._turn:  # registering waits for a long chore
            died = "update perdure.worker set state = 'dead', ended_at = now() where id = %s returning 1"
            await stage.rows(died, first)
            await until(lambda: beats.count(None) >= 2)
        await until(lambda: worker.id != first)
        (id,) = await stage.enqueue(work.job())

        await stage.until_in("history", id)
        assert await stage.rows("select id, state from perdure.worker order by id") == [
            (first, "dead"),
            (worker.id, "alive"),
        ]


async def test_stale_ends_are_counted_though_their_report_can_not_be_made(db: Database) -> None:
    """The connection breaks just when the worker asks what became of a stale job: the worker goes on. Red when that
    question's error passes: a worker would end for the sake of a line in its log."""
    stage, app, release = Stage(db), App("a"), asyncio.Event()

    @app.task
    async def hold() -> None:
        await release.wait()

    async with working(db, app) as worker:
        link = worker._links["settle"]
        run: Any = link.run

        async def broken(op: Any) -> Any:
            if op.gi_code.co_name == "generations":
                op.close()
                raise ConnectionLost("cut")
            return await run(op)

        link.run = broken  # type: ignore[method-assign]
        (stale,) = await stage.enqueue(hold.job())
        await stage.until_in("leased", stale)
        await stage.rows("update perdure.job set generation = generation + 1 where id = %s returning 1", stale)
        release.set()
        await until(lambda: worker._settler.counts["stale"] == 1)
        (later,) = await stage.enqueue(hold.job())

        await stage.until_in("history", later)


async def test_a_worker_can_be_stopped_while_it_finds_out_what_it_holds(db: Database) -> None:
    """The server goes away for good, and the worker is told to stop: it ends without it. Red when the drain waits for
    the claimer, and the claimer for the server."""
    app, proxy = App("a"), Proxy(db.url)

    @app.task
    async def work() -> None: ...

    async with working(Behind(db, proxy), app, drain_seconds=0.5) as worker:  # type: ignore[arg-type]
        proxy.close()
        worker._claimer.notified("")
        await until(lambda: worker._claimer.recovering)


class Behind:
    """The same database, through a wire."""

    def __init__(self, db: Database, proxy: Proxy) -> None:
        self.url = proxy.url
