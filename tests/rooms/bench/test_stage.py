"""The stage of a benchmark: what it counts, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import signal

import pytest

from perdure.bench import ops
from perdure.bench.process import crew
from perdure.bench.run import measure
from perdure.bench.stage import PREFIX, staged
from perdure.bench.tasks import noops, stamp
from perdure.core.errors import ConnectionLost, InvalidOption, PerdureError
from tests.cli.terminal import alive
from tests.conftest import Database


def _quiet(line: str) -> None:
    """What is going on doesn't matter here."""


def _schemas(db: Database) -> list[str]:
    found = db.connect().execute("select nspname from pg_namespace where starts_with(nspname, %s)", [PREFIX])
    return [name for (name,) in found]


async def test_jobs_that_have_all_completed_add_up(empty_db: Database) -> None:
    """Every job in history once, and nothing anywhere else, is what ``finished`` calls so; one more or less isn't."""
    with staged(empty_db.url, _quiet) as stage:
        async with crew(stage) as hired:
            await hired.hire(watch=True)
            stage.enqueue(noops(3))
            await hired.settle(3)

            assert await stage.finished(3)
            assert not await stage.finished(4)

        assert len(stage.problems) == 1
        assert "expected 4 jobs" in stage.problems[0]


async def test_a_lost_job_does_not_add_up(empty_db: Database) -> None:
    """A job without its arrival in ready is a problem that the report names."""
    with staged(empty_db.url, _quiet) as stage:
        stage.enqueue(noops(2))
        assert stage.queued(2)

        stage.conn.execute(f"delete from {stage.schema}.ready where id = (select min(id) from {stage.schema}.ready)")

        assert not stage.queued(2)
        assert "expected 2 ready jobs" in stage.problems[0]


def test_the_schema_goes_although_the_connection_is_broken(empty_db: Database) -> None:
    """A benchmark that ends because its session was ended by the server leaves no schema either."""

    def broken() -> None:
        with staged(empty_db.url, _quiet) as stage:
            assert _schemas(empty_db) == [stage.schema]
            empty_db.connect().execute("select pg_terminate_backend(%s, 10000)", [stage.conn.info.backend_pid])
            stage.clear()

    with pytest.raises(ConnectionLost):
        broken()

    assert _schemas(empty_db) == []


async def test_no_worker_outlives_its_benchmark(empty_db: Database) -> None:
    """When a benchmark breaks, its workers are gone before the error is: those that work, and those that wait."""
    pids: list[int] = []

    async def broken() -> None:
        async with crew(stage) as hired:
            for begin in (True, False):
                pids.append((await hired.hire(begin=begin)).pid)
            raise RuntimeError("over")

    with staged(empty_db.url, _quiet) as stage:
        with pytest.raises(RuntimeError, match="over"):
            await broken()

        assert [alive(pid) for pid in pids] == [False, False]


async def test_a_worker_that_breaks_ends_the_wait(empty_db: Database) -> None:
    """Who waits for a worker that is gone is told so at once, and not when the time is up."""

    async def killed() -> None:
        async with crew(stage) as hired:
            worker = await hired.hire()
            waiting = asyncio.create_task(hired.stamped([7]))
            worker.send(signal.SIGKILL)
            await waiting

    with staged(empty_db.url, _quiet) as stage, pytest.raises(PerdureError, match="a worker process broke"):
        await killed()


async def test_a_handler_tells_when_it_started(empty_db: Database) -> None:
    """The stamp of a job's start comes after its enqueue, on the clock that all processes of a machine share."""
    with staged(empty_db.url, _quiet) as stage:
        async with crew(stage) as hired:
            worker = await hired.hire()
            stage.enqueue([stamp.job(n=1), stamp.job(n=2)])
            started = await hired.stamped([1, 2])

            assert worker.started_at is not None
            assert all(at > worker.started_at for at in started.values())


async def test_an_attempt_beyond_the_first_is_counted(empty_db: Database) -> None:
    """``extra_attempts`` is what a SIGTERM must not cost: 0 for jobs that ran once, 1 when one was charged more."""
    with staged(empty_db.url, _quiet) as stage:
        async with crew(stage) as hired:
            await hired.hire(watch=True)
            stage.enqueue(noops(2))
            await hired.settle(2)
            await stage.finished(2)
        assert stage.run(ops.count()).extra_attempts == 0

        history = f"{stage.schema}.history"
        stage.conn.execute(f"update {history} set attempt = attempt + 1 where id = (select min(id) from {history})")

        assert stage.run(ops.count()).extra_attempts == 1


@pytest.mark.parametrize("amount", [{"jobs": 0}, {"rounds": 0}, {"jobs": -1}])
def test_nothing_to_measure_is_refused(amount: dict[str, int], empty_db: Database) -> None:
    """Less than one job or round is refused before anything is made."""
    with pytest.raises(InvalidOption, match="less than one"):
        measure("drain", empty_db.url, _quiet, **amount)

    assert _schemas(empty_db) == []
