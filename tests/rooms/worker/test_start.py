"""How a worker begins: it waits for a server that doesn't answer, and refuses one it can't work with."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator

import pytest

from perdure.app.registry import App
from perdure.app.worker import Worker
from perdure.core.errors import DatabaseMissing, SchemaBehind
from perdure.jobs.model import JobSpec
from perdure.jobs.ops.queues import make
from perdure.pg.drive import drive
from tests.conftest import Database
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

SIGNED = """select exists (select from pg_locks l join perdure.queue q on q.id::text = l.objid::text
    where q.name = 'fresh' and l.mode = 'ShareLock'
    and l.classid::bigint::bit(32) = hashtext('perdure.sleepers')::bit(32)
    and l.database = (select oid from pg_database where datname = current_database()))"""
MAKING = "the queue fresh is being made by another open transaction"


class _Heard(logging.Handler):
    """Sets an event when a record comes."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine on which nobody listens, nor will: it stays taken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield int(probe.getsockname()[1])


async def test_a_worker_told_to_stop_while_it_waits_for_the_server_leaves(closed_port: int) -> None:
    """It says that it waits, goes on waiting, and leaves clean when told to."""
    worker = Worker(App("shop"), f"postgresql://postgres@127.0.0.1:{closed_port}/shop")
    heard, log = _Heard(), logging.getLogger("perdure.worker")
    log.addHandler(heard)
    try:
        running = asyncio.create_task(worker.run())
        await asyncio.wait_for(heard.event.wait(), BOUND_SECONDS)
        assert not running.done()
        worker.stop()

        assert await asyncio.wait_for(running, BOUND_SECONDS) is True
    finally:
        log.removeHandler(heard)


async def test_a_worker_refuses_a_schema_that_is_not_there(db: Database) -> None:
    """The error says what to run, before anything is written."""
    with pytest.raises(SchemaBehind, match="perdure migrate"):
        await asyncio.wait_for(Worker(App("shop"), db.url, schema="elsewhere").run(), BOUND_SECONDS)


async def test_a_worker_refuses_a_database_that_is_not_there(db: Database) -> None:
    """Waiting wouldn't make it, so it isn't waited for."""
    with pytest.raises(DatabaseMissing):
        await asyncio.wait_for(Worker(App("shop"), db.server.cluster.url("nowhere")).run(), BOUND_SECONDS)


@pytest.mark.parametrize("queues", [None, {"mail": 1, "rare": 1}], ids=["named", "both"])
async def test_a_worker_says_which_declared_queue_it_leaves_alone(
    stage: Stage, caplog: pytest.LogCaptureFixture, queues: dict[str, int] | None
) -> None:
    """A worker that takes the queues its app's tasks name says which others the app declares, unless it was given
    those, too. Red when jobs put into a queue that only ``app.queue`` names wait without a word."""
    app = App("shop")
    app.queue("rare", max_depth=10)

    @app.task(queue="mail")
    async def send() -> None: ...

    async with working(stage.db, app, queues=queues):
        pass
    said = [each.getMessage() for each in caplog.records if "declares the queue rare" in each.getMessage()]

    assert len(said) == (queues is None)


async def test_a_worker_begins_without_a_queue_that_is_being_made(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """An open transaction that makes a queue, as the first job of one does, holds up that queue alone: the worker
    starts, says which it lacks, and works on the others; on that one, with all that is declared of it, once it is
    there. Red when all are made before the start, and when it doesn't fall asleep on the one it found."""
    app = App("shop")
    app.queue("fresh", max_depth=7)

    @app.task(queue="mail")
    async def send() -> None: ...

    @app.task(queue="fresh")
    async def pack() -> None: ...

    holder = stage.db.connect()
    holder.execute("begin")
    drive(holder, make(["fresh"]))
    async with working(stage.db, app):
        [letter] = await stage.enqueue(JobSpec(task="send", queue="mail", payload="{}"))
        await stage.until_in("history", letter)
        await until(lambda: any(MAKING in each.getMessage() for each in caplog.records))
        holder.execute("commit")

        await stage.until_true(SIGNED)
        assert await stage.value("select max_depth from perdure.queue_rule") == 7
        [parcel] = await stage.enqueue(JobSpec(task="pack", queue="fresh", payload="{}"))
        await stage.until_in("history", parcel)
