"""Dead letters: many at once, chosen by what they have in common, in whose name, and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from perdure import context
from perdure.app.client import AsyncClient, Client
from perdure.app.context import Context
from perdure.app.registry import App
from perdure.core.backoff import Retry
from perdure.core.errors import InvalidOption, JobNotRetryable
from perdure.jobs.letters import NothingMatches
from perdure.jobs.model import JobSpec
from tests.conftest import Database
from tests.rooms.worker.stage import Stage, working

DIE = (
    "with gone as (delete from perdure.ready where id = any(%s) returning id) "
    "insert into perdure.dead (id, reason, error, died_at) select id, %s, %s, %s from gone"
)
OLD = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def client(db: Database) -> Iterator[Client]:
    """A client of the test's database."""
    made = Client(db.url)
    yield made
    made.close()


def _dead(
    db: Database, client: Client, *jobs: JobSpec, reason: str = "exhausted", error: str = "boom", at: datetime = OLD
) -> list[int]:
    ids = [job.id for job in client.jobs.enqueue_many(jobs)]
    db.connect().execute(DIE, [ids, reason, error, at])
    return ids


def _job(name: str = "work", **options: Any) -> JobSpec:
    return JobSpec(task=name, payload="{}").options(**options)


def test_a_filter_chooses_by_everything_that_can_be_said(db: Database, client: Client) -> None:
    """Queue, task, reason, tag, a part of the error, and when they died: each narrows what is counted, and what is
    redriven is what was counted [DW-168]. Red when a part of the filter is left out of either statement."""
    mail = _dead(db, client, _job(queue="mail"), _job("send", queue="mail"))
    lost = _dead(db, client, _job(tags=("a", "b")), reason="worker_lost", error="the worker was lost")
    new = _dead(db, client, _job(), error="HTTP 503", at=OLD + timedelta(days=2))

    assert client.jobs.count_dead() == 4
    assert client.jobs.count_dead(queue="mail") == 2
    assert client.jobs.count_dead(queue="nowhere") == 0
    for options, ids in (
        ({"queue": "mail", "task": "send"}, mail[1:]),
        ({"task": "work", "queue": "mail"}, mail[:1]),
        ({"tag": "b"}, lost),
        ({"error": "503"}, new),
    ):
        assert client.jobs.count_dead(**options) == 1  # type: ignore[arg-type]
        assert client.jobs.redrive_dead(by="alice", **options).jobs == 1  # type: ignore[arg-type]
        assert [client.jobs.get(id).place for id in ids] == ["ready"]
    lost = _dead(db, client, _job(), reason="worker_lost")
    new = _dead(db, client, _job(), at=OLD + timedelta(days=2))
    assert client.jobs.count_dead(died_of="worker_lost") == 1
    assert client.jobs.count_dead(died_after=OLD + timedelta(days=1)) == 1
    assert client.jobs.discard_dead(by="bob", reason="obsolete", died_before=OLD + timedelta(days=1)).jobs == 1
    assert (client.jobs.get(lost[0]).outcome, client.jobs.get(lost[0]).error) == ("discarded", "obsolete")
    assert client.jobs.get(new[0]).place == "dead"


def test_what_was_done_is_in_the_book(db: Database, client: Client) -> None:
    """Who did it, when, by which filter, why, and how many they were in the end, one entry for an act of several
    batches [DW-168]. Red when the book is written before the batch, or for each of them."""
    ids = _dead(db, client, *[_job() for _ in range(2_500)])
    doomed = _dead(db, client, _job("bad"))

    redriven = client.jobs.redrive_dead(by="alice", task="work")
    discarded = client.jobs.discard_dead(by="bob", reason="malformed", everything=True)

    assert (redriven.jobs, discarded.jobs) == (2_500, 1)
    second, first = client.jobs.acts()
    assert (first.id, first.by, first.act, first.filter, first.jobs) == (
        redriven.act, "alice", "redrive", {"task": "work"}, 2_500,
    )  # fmt: skip
    assert (first.first_id, first.last_id) == (ids[0], ids[-1])
    assert (second.by, second.act, second.reason, second.jobs) == ("bob", "discard", "malformed", 1)
    assert (second.first_id, second.last_id) == (doomed[0], doomed[0])


def test_a_redrive_that_is_repeated_does_nothing_more(db: Database, client: Client) -> None:
    """A redrive is a fresh row of attempts under a new generation; the same one again finds nothing, and of two at once
    each job is taken by one of them [DW-168]. Red without the lock, or without the new generation."""
    (id,) = _dead(db, client, _job())
    client.jobs.redrive(id)
    with pytest.raises(JobNotRetryable):
        client.jobs.redrive(id)
    job = client.jobs.get(id)
    assert (job.place, job.attempt, job.generation, job.rescues) == ("ready", 0, 1, 0)

    ids = _dead(db, client, *[_job("other") for _ in range(50)])
    with client.transaction() as mine:
        assert mine.jobs.redrive_dead(by="alice", task="other", everything=True).jobs == 50
        with psycopg.connect(db.url, options="-c lock_timeout=50ms") as conn, pytest.raises(Exception, match="lock"):
            client.on(conn).jobs.redrive_dead(by="bob", task="other", everything=True)
    with pytest.raises(NothingMatches):
        client.jobs.redrive_dead(by="bob", task="other")
    assert db.connect().execute("select count(*) from perdure.ready where id = any(%s)", [ids]).fetchone() == (50,)


def test_a_throttled_redrive_is_spread_over_time(db: Database, client: Client) -> None:
    """At fifty a second the first is due at once and each further one a fiftieth of a second later, across batches.
    Red when each batch begins at nought."""
    _dead(db, client, *[_job() for _ in range(1_200)])

    client.jobs.redrive_dead(by="alice", rate=50, everything=True)

    rows = db.connect().execute(
        "select count(*), extract(epoch from max(run_at) - min(run_at))::float8 from perdure.scheduled"
    )
    count, span = rows.fetchone() or (0, 0.0)
    assert count == 1_200
    assert 23.5 < span < 45.0  # 1,199 fiftieths, and the time between the two batches, whatever held them up
    order = db.connect().execute(
        "select array_agg(id order by run_at) = array_agg(id order by id) from perdure.scheduled"
    )
    assert order.fetchone() == (True,)


def test_a_filter_that_chooses_everything_or_nothing_is_asked_about(db: Database, client: Client) -> None:
    """A filter that is empty, or turns out to choose every one of several dead jobs, must be said to be meant; one that
    matches nothing is told with what there is, and so is what can't be meant; nothing is done. Red when a filter is
    believed because something was said in it."""
    _dead(db, client, _job(), _job())

    with pytest.raises(InvalidOption, match="filter: is empty, and would choose every dead job; narrow it"):
        client.jobs.redrive_dead(by="alice")
    for act in (client.jobs.redrive_dead, partial(client.jobs.discard_dead, reason="x")):
        with pytest.raises(InvalidOption, match=r'filter: \{"task":"work"\} chooses all of the 2 dead jobs; narrow it'):
            act(by="alice", task="work")
    with pytest.raises(NothingMatches, match=r'no dead job matches \{"queue":"mali"\}, of 2'):
        client.jobs.discard_dead(by="alice", reason="x", queue="mali")
    with pytest.raises(InvalidOption, match=r"rate: 0 is not allowed"):
        client.jobs.redrive_dead(by="alice", rate=0, everything=True)
    with pytest.raises(InvalidOption, match="by: "):
        client.jobs.redrive_dead(by="", everything=True)
    with pytest.raises(InvalidOption, match="died_after: comes after died_before"):
        client.jobs.count_dead(died_after=OLD, died_before=OLD)
    with pytest.raises(InvalidOption, match="moon: is no filter"):
        client.jobs.count_dead(moon="full")  # type: ignore[call-arg]
    assert client.jobs.count_dead() == 2
    assert client.jobs.acts() == []
    assert client.jobs.redrive_dead(by="alice", task="work", everything=True).jobs == 2


async def test_a_replay_keeps_the_context_and_says_who_replays(stage_: Stage) -> None:
    """A redriven job runs in the context it was enqueued in, with who runs it again beside who asked for it; what it
    enqueues then carries the context on, and not the replayer [ARC-6]. Red when the redrive writes another word of the
    context, or none."""
    app, seen = App("a"), list[tuple[str | None, str | None, str | None]]()
    fails = [True]

    @app.task(retry=Retry(max_attempts=1))
    async def work(ctx: Context, level: int) -> None:
        seen.append((ctx.context.actor, ctx.context.tenant, ctx.context.replayed_by))
        if fails and fails.pop():
            raise ConnectionError("once")
        if level == 0:
            await ctx.enqueue(work.job(1))

    async with AsyncClient(stage_.db.url) as client:
        with context.bind(actor="user:a", tenant="acme"):
            job = await client.jobs.enqueue(work.job(0))
        async with working(stage_.db, app):
            await stage_.until_in("dead", job.id)
            await client.jobs.redrive(job.id, by="user:b")
            await stage_.until_true("select count(*) = 2 from perdure.history")
        shown = await client.jobs.get(job.id)

    assert seen == [("user:a", "acme", None), ("user:a", "acme", "user:b"), ("user:a", "acme", None)]
    assert shown.attempt == 1


@pytest.fixture
def stage_(db: Database) -> Stage:
    """The same database, for a worker."""
    return Stage(db)
