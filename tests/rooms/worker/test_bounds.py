"""Nothing in a worker is unbounded: slots, what it claims ahead, its threads, its ends, its connections."""

from __future__ import annotations

import asyncio
import json
import logging
import threading

import pytest

from perdure.app.registry import App
from perdure.app.worker import Worker
from perdure.fleet.model import Connections
from perdure.fleet.rules import shortage
from perdure.jobs.loops.intake import PAYLOAD_BYTES_AHEAD, Intake
from perdure.jobs.loops.runner import Runner
from perdure.jobs.loops.settler import Settler
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, claim_everything, until, working

SLOTS = {"a": 3, "b": 7}
FILL = """
with b as (
    insert into perdure.job (id, pos, created_at, lane, task, payload)
    select n, n, now(), (select id from perdure.queue where name = 'default') * 4096 + 5, %s, '{}'
    from (select nextval('perdure.pos') as n from generate_series(1, %s)) s
    returning id, lane
)
insert into perdure.ready (lane, pos, id) select lane, id, id from b
"""


async def test_a_worker_claims_for_its_free_slots_and_no_more(stage: Stage) -> None:
    """Of 20,000 ready jobs a worker of five slots, all of them busy, holds five; the rest is left to others [KIT-31].
    Red when a claim asks for more than the free slots and 50 ms of work."""
    app, go = App("a"), asyncio.Event()

    @app.task
    async def wait() -> None:
        await go.wait()

    await stage.rows("insert into perdure.queue (name) values ('default') returning id")
    await asyncio.to_thread(stage.conn.execute, FILL, ["wait", 20_000])
    async with working(stage.db, app, queues={"default": 5}) as worker:
        await until(lambda: worker.gauges()["queues"]["default"]["busy"] == 5)
        await _hurried(worker)
        gauges, leased = worker.gauges(), await stage.value("select sum(cardinality(jobs)) from perdure.lease")
        await stage.rows("delete from perdure.ready returning 1")
        go.set()

    assert (gauges["claimed"], leased) == (5, 5)
    assert gauges["queues"]["default"] | {"prefetched": 0} == gauges["queues"]["default"]


async def _hurried(worker: Worker) -> None:
    """Tell the worker a few times that there may be something to claim; each time it has gone round once since."""
    for _ in range(5):
        looks = worker._claimer.looks
        worker._claimer.notified("")
        await until(lambda: worker._claimer.looks > looks)  # noqa: B023


async def test_what_is_claimed_ahead_is_a_moment_of_work(stage: Stage) -> None:
    """While 4,000 jobs flow through five slots, no more is in hand at any start than the slots and two moments of work
    at the pace they run [KIT-31]. Red when the backlog isn't asked before a claim."""
    app, held = App("a"), []

    @app.task
    async def work() -> None:
        held.append(worker._claimer.claimed - sum(worker._settler.counts.values()) - worker._settler.waiting)
        await asyncio.sleep(0.005)

    ids = await stage.enqueue(*[work.job() for _ in range(1_000)])
    async with working(stage.db, app, queues={"default": 5}) as worker:
        await stage.until_all_in("history", ids)

    print(f"at most {max(held)} in hand")
    # Five slots and 5 ms each: 1,250 a second at the very most in the span over which a pace is taken; 63 in 50 ms.
    assert max(held) <= 5 + 2 * 63


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_no_more_run_at_once_than_there_are_slots(stage: Stage, kind: str) -> None:
    """Of 200 jobs as many run at once as their queue has slots, and no more, on the loop and in threads, each queue by
    itself [KIT-31]. Red when a slot starts a job without waiting for the last."""
    app, lock, now, most = App("a"), threading.Lock(), {"a": 0, "b": 0}, {"a": 0, "b": 0}
    full = {"a": threading.Event(), "b": threading.Event()}

    def enter(queue: str, step: int) -> None:
        with lock:
            now[queue] += step
            most[queue] = max(most[queue], now[queue])
            if now[queue] >= SLOTS[queue]:
                full[queue].set()

    if kind == "loop":

        @app.task
        async def work(queue: str) -> None:
            enter(queue, 1)
            await until(full[queue].is_set)  # they do run side by side
            await asyncio.sleep(0.002)
            enter(queue, -1)
    else:
        rest = threading.Event()

        @app.task(name="work")
        def work_in_a_thread(queue: str) -> None:
            enter(queue, 1)
            full[queue].wait(BOUND_SECONDS)
            rest.wait(0.002)
            enter(queue, -1)

    task = app.find("work")
    ids = await stage.enqueue(*[task.job(queue).options(queue=queue) for _ in range(100) for queue in ("a", "b")])
    async with working(stage.db, app, queues=SLOTS):
        await stage.until_all_in("history", ids)

    assert most == SLOTS


async def test_an_unstarted_job_keeps_its_lease_and_its_time(stage: Stage) -> None:
    """Jobs claimed ahead, behind slow ones that run longer than their timeout, lose neither their lease to the other
    worker nor their timeout to the wait: the lease is renewed meanwhile, and each runs once [KIT-32, DW-51, DW-104].
    Red when leases aren't renewed while jobs wait, or when the deadline is counted from the claim."""
    app, started, go = App("a"), [], asyncio.Event()

    @app.task(timeout=1.0)
    async def quick(number: int) -> None:
        started.append(number)

    @app.task
    async def slow() -> None:
        await go.wait()

    await stage.enqueue(slow.job(), slow.job())
    async with working(stage.db, app, queues={"default": 2}) as worker:
        await until(lambda: worker.gauges()["queues"]["default"]["busy"] == 2)
        ids = await stage.enqueue(*[quick.job(number) for number in range(10)])
        await claim_everything(worker, stage)
        renewed = "select expires_at > %s + interval '2.5 s' from perdure.worker where id = %s"
        held_until = await stage.value("select expires_at from perdure.worker where id = %s", worker.id)
        async with working(stage.db, App("other"), queues={"default": 5}) as other:
            await stage.until_true(renewed, held_until, worker.id)
            await _hurried(other)
            leased = await stage.value("select count(*) from perdure.jobs where place = 'leased'")
        go.set()
        jobs = await stage.until_in("history", *ids)

    assert leased == 12
    assert [(job.attempt, job.rescues, job.generation) for job in jobs] == [(1, 0, 0)] * 10
    assert started == list(range(10))


async def test_a_settler_that_is_behind_stops_the_claims(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While ends wait that can't be committed, the worker claims nothing more, and goes on when they are through: what
    has run and isn't settled is bounded [KIT-31]. Red when ``may_claim`` doesn't ask the settler."""
    monkeypatch.setattr(Settler, "PENDING_MAX", 20)
    app = App("a")

    @app.task
    async def work() -> None: ...

    ids = await stage.enqueue(*[work.job() for _ in range(500)])
    blocker = stage.db.connect()
    blocker.execute("begin; lock table perdure.history in access exclusive mode")
    async with working(stage.db, app, queues={"default": 5}) as worker:
        runner = worker._runners[0]
        # All that it has claimed has run, its slots are free, and the queue is not empty.
        await until(lambda: worker._settler.waiting >= 20 and runner.free == 5)
        claims = worker._claimer.claims
        await _hurried(worker)
        stalled, waiting = worker._claimer.claims, worker._settler.waiting
        blocker.execute("commit")
        await stage.until_all_in("history", ids)

    assert stalled <= claims + 1  # one may have been under way
    assert waiting < 500


async def test_large_payloads_are_claimed_few_at_a_time() -> None:
    """Once payloads of a mebibyte have been seen, what is claimed ahead holds no more than the bound in bytes, whatever
    the pace; a queue of small ones is bounded by its pace [KIT-31]. Red when ``took`` averages a rise away."""
    runner = Runner({}, 5, settle=lambda end: None, trusted_until=lambda: 0.0, on_room=lambda: None)
    intake = Intake(1, "default", runner)
    intake._rate, intake._measured = 1e6, float("inf")
    intake.took(100, 100 * 200)
    small = intake.ahead()
    intake.took(10, 10 * 1_048_576)

    assert small == 1_000
    assert intake.ahead() * 1_048_576 <= PAYLOAD_BYTES_AHEAD


async def test_the_gauges_say_how_full_a_worker_is(stage: Stage) -> None:
    """The gauges, which the beat stores with the worker's row, count slots that are busy and free, jobs that wait, how
    long all slots have been busy, and the longest run [KIT-35]. Red when the beat doesn't carry them."""
    app, go = App("a"), asyncio.Event()

    @app.task
    async def wait() -> None:
        await go.wait()

    await stage.enqueue(*[wait.job() for _ in range(4)])
    async with working(stage.db, app, queues={"default": 3}) as worker:
        for gauge in ("saturated_seconds", "longest_run_seconds"):
            query = "select (gauges #>> array['queues', 'default', %s])::float8 > 0.5 from perdure.worker"
            await stage.until_true(query, gauge)
        stored = json.loads(await stage.value("select gauges::text from perdure.worker"))["queues"]["default"]
        go.set()
        await until(lambda: worker.gauges()["settled"].get("completed") == 4)
        idle = worker.gauges()["queues"]["default"]

    assert (stored["slots"], stored["busy"], stored["free"], stored["prefetched"]) == (3, 3, 0, 0)
    assert stored["saturated_seconds"] > 0.5
    assert stored["longest_run_seconds"] > 0.5
    assert (idle["busy"], idle["free"], idle["longest_run_seconds"], idle["wait_seconds"]) == (0, 3, 0.0, 0.0)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Connections(allowed=97, workers=1, slots=92), None),
        (Connections(97, 2, 100), "2 workers keep 10 connections open (5 each), and the server allows 97: of 100 jobs"),
        (Connections(17, 4, 8), "4 workers keep 20 connections open (5 each), and the server allows 17: raise"),
    ],
    ids=["enough", "not for every job", "not for every worker"],
)
def test_a_shortage_of_connections_is_said_in_figures(found: Connections, words: str | None) -> None:
    """What workers and their jobs may open is held against what the server allows, and a shortage named with each
    number [KIT-34, DW-186]; a lease can't be too short for a batch, nor a poll too rare for what is due, because beats
    renew all leases and due times have a timer. Red when slots aren't counted."""
    said = shortage(found)

    assert said is None if words is None else said is not None and said.startswith(words)


async def test_a_worker_says_at_its_start_that_connections_are_short(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker of more slots than the server has connections says so when it starts, with its own figures [KIT-34]."""
    caplog.set_level(logging.INFO, "perdure.worker")
    app = App("a")
    async with working(stage.db, app, queues={"default": 20}):
        roomy = caplog.text
    allowed = await stage.value("select current_setting('max_connections')::int") - 3
    async with working(stage.db, app, queues={"default": allowed}):
        pass

    assert "connections open" not in roomy
    assert (
        f"1 worker keeps 5 connections open (5 each), and the server allows {allowed}: of {allowed} jobs" in caplog.text
    )


async def test_a_worker_has_its_own_connections_before_a_handler_runs(stage: Stage) -> None:
    """Every session that a worker needs is open when its first handler starts, so that handlers can't take the last
    ones from it [KIT-34]. Red when a link connects at its first use."""
    app, found, go = App("a"), [], asyncio.Event()

    @app.task
    async def wait() -> None:
        found.extend(
            await stage.rows("select application_name from pg_stat_activity where datname = current_database()")
        )
        go.set()

    (id,) = await stage.enqueue(wait.job())
    async with working(stage.db, app):
        await stage.until_in("history", id)

    assert {"perdure-claim", "perdure-settle", "perdure-maintenance"} <= {name.split()[0] for (name,) in found if name}
