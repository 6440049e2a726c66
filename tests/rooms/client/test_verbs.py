"""What a client does to jobs, queues and workers, on a real database; no worker runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from psycopg import Connection

from perdure import AsyncClient, Client, Unique
from perdure.core.errors import (
    DuplicateJob,
    InvalidOption,
    JobCancelled,
    JobError,
    JobNotFound,
    JobNotRetryable,
    UnknownQueue,
    Unsupported,
    WaitTimeout,
)
from perdure.core.op import Call, Row
from perdure.jobs.model import JobSpec
from perdure.pg import borrow, drive
from perdure.pg.drive import execute
from tests.conftest import Database
from tests.rooms.client.shop import charge, send_receipt

JOB = send_receipt.job(order_id=9182)


def _bury(db: Database, id: int) -> None:
    with db.connect() as conn, conn.transaction():
        conn.execute("delete from perdure.ready where id = %s", [id])
        conn.execute("update perdure.job set attempt = 5 where id = %s", [id])
        conn.execute("insert into perdure.dead (id, reason, error) values (%s, 'exhausted', 'no')", [id])


@pytest.fixture
def client(db: Database) -> Any:
    """A client of the test's own database."""
    with Client(db.url) as made:
        yield made


def test_jobs_are_listed_page_by_page(client: Client) -> None:
    """Pages hold every job once, newest first; the filters choose by queue, place, task and tag."""
    ids = [job.id for job in client.jobs.enqueue_many([send_receipt.job(order_id=n) for n in range(7)])]
    late = client.jobs.enqueue(charge.job(order_id=1), delay=60).id
    seen: list[int] = []
    cursor: int | None = None
    while True:
        page = client.jobs.list(limit=3, cursor=cursor)
        seen += [job.id for job in page]
        if (cursor := page.next) is None:
            break

    assert seen == [late, *reversed(ids)]
    filters: list[dict[str, Any]] = [{"queue": "cards"}, {"place": "scheduled"}, {"task": "charge"}, {"tag": "money"}]
    for chosen in filters:
        assert [job.id for job in client.jobs.list(**chosen)] == [late]
    assert list(client.jobs.list(queue="nowhere")) == []
    assert client.jobs.list(limit=8).next is None


@pytest.mark.parametrize(
    ("option", "value"),
    [("place", "nowhere"), ("limit", 0), ("limit", 10_000), ("cursor", 0), ("queue", ""), ("tag", 1)],
)
def test_a_bad_filter_is_refused_by_name(client: Client, option: str, value: Any) -> None:
    """Each filter outside its bounds gives one error that names it and the fix."""
    with pytest.raises(InvalidOption) as caught:
        client.jobs.list(**{option: value})

    assert caught.value.field == option
    assert caught.value.fix


def test_a_job_is_hurried_redriven_and_discarded(client: Client, db: Database) -> None:
    """A scheduled job runs now; a dead one runs again from its first attempt, or is filed for good [DW-4].

    Guard: each verb answers for the place the job stands in, under the job's lock.
    """
    later = client.jobs.enqueue(JOB, delay=3600).id
    client.jobs.retry(later)
    assert client.jobs.get(later).place == "ready"

    dead = client.jobs.enqueue(JOB).id
    for verb in (client.jobs.retry, client.jobs.redrive):
        _bury(db, dead)
        verb(dead)
        assert (client.jobs.get(dead).place, client.jobs.get(dead).attempt) == ("ready", 0)
    _bury(db, dead)
    client.jobs.discard(dead, reason="nobody wants it")
    filed = client.jobs.get(dead)
    assert (filed.place, filed.outcome, filed.error) == ("history", "discarded", "nobody wants it")

    with pytest.raises(JobNotRetryable, match=f"job {dead}: stands in history"):
        client.jobs.retry(dead)
    with pytest.raises(JobNotRetryable, match=f"job {later}: stands in ready"):
        client.jobs.redrive(later)
    with pytest.raises(JobError, match="stands in ready, not in dead; cancel it instead"):
        client.jobs.discard(later)
    assert client.jobs.attempts(later) == []


def test_what_isnt_there_is_said_so(client: Client) -> None:
    """Every verb about one job or one queue names the one that doesn't exist."""
    jobs, queues = client.jobs, client.queues
    for verb in (jobs.get, jobs.cancel, jobs.retry, jobs.redrive, jobs.discard, jobs.wait):
        with pytest.raises(JobNotFound, match="job 999: there is none"):
            verb(999)
    for act in (queues.get, queues.pause, queues.resume):
        with pytest.raises(UnknownQueue, match="queue: there is no queue 'nowhere'"):
            act("nowhere")


def test_queues_are_paused_resumed_and_counted(client: Client) -> None:
    """A queue shows how many jobs stand where, and whether it is paused."""
    client.jobs.enqueue(JOB)
    client.jobs.enqueue(JOB, delay=60)
    client.queues.pause("mail")
    found = client.queues.get("mail")
    assert (found.ready, found.scheduled, found.paused_at is None) == (1, 1, False)
    client.queues.resume("mail")
    assert [(queue.name, queue.paused_at) for queue in client.queues.list()] == [("mail", None)]
    assert client.workers.list() == []


def test_a_wait_ends_with_its_job_or_its_time(client: Client, db: Database) -> None:
    """A wait returns the result, raises for another end, and gives up when its time has passed."""
    id = client.jobs.enqueue(JOB).id
    with pytest.raises(WaitTimeout):
        client.jobs.wait(id, timeout=0.05)
    client.jobs.cancel(id, reason="not wanted")
    with pytest.raises(JobCancelled, match="was cancelled: not wanted"):
        client.jobs.wait(id, timeout=30)

    done = client.jobs.enqueue(JOB).id
    for number, result in enumerate(["a text", {"a": [1, None]}, None, 12345678901234567890123]):
        _complete(db, done + number, result)
        assert client.jobs.wait(done + number, timeout=30) == result
        client.jobs.enqueue(JOB)


def _complete(db: Database, id: int, result: object) -> None:
    db.connect().execute(
        "with gone as (delete from perdure.job where id = %s returning *), "
        "r as (delete from perdure.ready where id = %s) "
        "insert into perdure.history "
        "(id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, payload, result) "
        "select id, created_at, now(), lane, generation, 1, 0, 'completed', task, payload, %s from gone",
        [id, id, json.dumps(result)],
    )


def test_inside_a_transaction_nothing_is_awaited(client: Client) -> None:
    """A job can't end before the transaction that enqueues it, so waiting there is refused at once."""
    with client.transaction() as tx, pytest.raises(Unsupported, match="commit first"):
        tx.jobs.wait(tx.jobs.enqueue(JOB).id)


@pytest.mark.parametrize("lifetime", [None, 60.0])
def test_the_three_statements_of_unique_enqueues_write_the_same_job(
    client: Client, db: Database, lifetime: float | None
) -> None:
    """A job with a unique key that is alone, among its like, and among others is the same row, and so is its key: three
    statements, one meaning. Red when one of them leaves out an option, or what tells a repetition from a mistake."""
    keys = iter("abcdefgh")

    def keyed(job: JobSpec) -> JobSpec:
        held = Unique(next(keys), lifetime=lifetime)
        return job.options(unique=held, key="order:1", timeout=3, priority=2, tags=["x"], expires=3600)

    job, other = charge.job(order_id=1), send_receipt.job(order_id=2)
    alone = client.jobs.enqueue(keyed(job)).id
    alike = [each.id for each in client.jobs.enqueue_many([keyed(job), keyed(job)])]
    mixed, _ = (each.id for each in client.jobs.enqueue_many([keyed(job), keyed(other)]))

    found = db.connect().execute(
        "select j.run_at, (extract(epoch from j.expires_at - j.created_at) / 30)::int, j.lane, j.task, j.key, "
        "j.tags::text, j.options::text, j.context::text, j.payload::text, j.id = j.pos, u.scope, u.until, u.payload, "
        "(extract(epoch from u.expires_at - j.created_at) / 30)::int "
        "from perdure.job j join perdure.unique_key u on u.id = j.id where j.id = any(%s)",
        [[alone, *alike, mixed]],
    )
    rows = found.fetchall()
    assert (len(rows), len(set(rows))) == (4, 1)


@pytest.mark.parametrize("taken", [False, True])
def test_many_with_keys_are_written_alone_or_in_one_transaction(client: Client, db: Database, taken: bool) -> None:
    """``enqueue_many`` of a client that is in no transaction: with a taken key among many, each answer stands in its
    place, and a call that is refused for it leaves nothing behind. Red when the jobs before it stay."""
    if taken:
        held = client.jobs.enqueue(JOB.options(unique="b"))
    jobs = [JOB.options(unique=name) for name in "abc"]
    refused = [JOB.options(unique=name, on_conflict="raise") for name in "dbe"]
    with pytest.raises(DuplicateJob) if taken else nullcontext():
        client.jobs.enqueue_many(refused)
    if taken:
        written = client.jobs.enqueue_many(jobs)
        assert [each.duplicate for each in written] == [False, True, False]
        assert written[1].id == held.id
    names = db.connect().execute("select key from perdure.unique_key order by key").fetchall()
    assert [name for (name,) in names] == (["a", "b", "c"] if taken else ["b", "d", "e"])


@pytest.mark.parametrize("taken", [False, True])
def test_many_with_keys_are_tried_once_as_if_all_were_free(
    client: Client, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """Of a client that is in no transaction, the statement for free keys is sent once, and first; when a key is taken,
    the transaction that follows knows; what takes several statements anyway is sent in a transaction at once. Red when
    either asks again what the first one has told."""
    client.jobs.enqueue(JOB.options(unique="b" if taken else "y"))
    sent: list[str] = []

    def noted(conn: Connection[Any], call: Call, schema: str) -> Sequence[Row]:
        sent.append(call.statement.name)
        return execute(conn, call, schema)

    for module in (drive, borrow):
        monkeypatch.setattr(module, "execute", noted)
    client.jobs.enqueue_many([JOB.options(unique=name) for name in "abc"])

    assert sent[0] == "jobs.enqueue_unique_alike"
    assert sent.count("jobs.enqueue_unique_alike") == 1
    assert ("jobs.enqueue_unique" in sent) is taken

    sent.clear()
    client.jobs.enqueue_many([JOB.then(JOB), JOB.options(unique="z")])
    assert "jobs.enqueue_unique_alike" not in sent


async def test_the_asynchronous_client_does_the_same(db: Database) -> None:
    """Enqueue, list, hurry, cancel, wait and the transaction, awaited."""
    async with AsyncClient(db.url) as client:
        async with client.transaction() as tx:
            first = await tx.jobs.enqueue(JOB)
            await tx.connection.execute("select 1")
        with suppress(ZeroDivisionError):
            async with client.transaction() as tx:
                await tx.jobs.enqueue(JOB)
                raise ZeroDivisionError
        (second,) = await client.jobs.enqueue_many([JOB.options(delay=60)])
        assert [job.id for job in await client.jobs.list()] == [second.id, first.id]
        await client.jobs.retry(second.id)
        assert await client.jobs.cancel(second.id) == "cancelled"
        with pytest.raises(JobCancelled):
            await client.jobs.wait(second.id, timeout=30)
        with pytest.raises(WaitTimeout):
            await client.jobs.wait(first.id, timeout=0.05)
        assert (await client.queues.get("mail")).ready == 1
        assert await client.workers.list() == []


def test_the_three_statements_of_enqueue_write_the_same_job(client: Client, db: Database) -> None:
    """One job alone, among its like, and among others is the same row: three statements, one meaning."""
    job = charge.job(order_id=1).options(key="order:1", timeout=3)
    other = send_receipt.job(order_id=2)
    alone = client.jobs.enqueue(job).id
    alike, _ = (each.id for each in client.jobs.enqueue_many([job, job]))
    mixed, _ = (each.id for each in client.jobs.enqueue_many([job, other]))
    bare = client.jobs.enqueue(other).id, *(each.id for each in client.jobs.enqueue_many([other, other]))

    def rows(ids: Any) -> set[Any]:
        found = db.connect().execute(
            "select run_at, round(extract(epoch from expires_at - created_at) / 30), lane, generation, attempt, "
            "task, key, tags::text, options::text, payload::text, id = pos from perdure.job where id = any(%s)",
            [list(ids)],
        )
        return set(found.fetchall())

    assert len(rows([alone, alike, mixed])) == 1
    assert len(rows(bare)) == 1


def test_a_task_that_must_not_run_twice_says_so_in_its_jobs(client: Client) -> None:
    """``at_most_once`` travels with the job, where whoever rescues it finds it; other jobs don't carry it."""
    assert client.jobs.get(client.jobs.enqueue(charge.job(order_id=1)).id).options == {"at_most_once": True}
    assert client.jobs.get(client.jobs.enqueue(JOB).id).options == {}


def test_a_list_of_more_than_a_statement_is_all_or_nothing(client: Client, db: Database) -> None:
    """Twelve thousand jobs come in order; when the last statement is refused, the ones before leave nothing."""
    ids = [job.id for job in client.jobs.enqueue_many(send_receipt.job(order_id=n) for n in range(12_000))]
    assert ids == sorted(set(ids))
    assert client.jobs.enqueue_many([]) == []

    bad = JobSpec(task="t", payload="{}").with_payload("no JSON")
    with pytest.raises(Exception, match="invalid input syntax for type json"):
        client.jobs.enqueue_many([*(send_receipt.job(order_id=n) for n in range(6_000)), bad])
    count = db.connect().execute("select count(*) from perdure.job").fetchone()
    assert count == (12_000,)
