"""The golden vectors: the same data say what the client and the SQL functions do, so the two can't drift apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest

from perdure import Client, JobSpec, PerdureError, Retry, Unique
from perdure.core.errors import JobNotFound
from perdure.jobs.view import Job
from tests.conformance.ways import enqueue_v1
from tests.conftest import Database

VECTORS = Path(__file__).parent / "vectors"
ENQUEUE = json.loads((VECTORS / "enqueue.json").read_text())
CANCEL = json.loads((VECTORS / "cancel.json").read_text())
SECONDS_MAX = 60.0

Enqueue: TypeAlias = Callable[[Database, dict[str, Any]], int]


def _payload(given: dict[str, Any]) -> str:
    """The payload's text; ``payload_bytes`` asks for an object of so many bytes."""
    if "payload_bytes" in given:
        return json.dumps({"filler": "x" * (given.pop("payload_bytes") - len('{"filler": ""}'))})
    return str(given.pop("payload_text", None) or json.dumps(given.pop("payload", {}), ensure_ascii=False))


def by_python(db: Database, given: dict[str, Any]) -> int:
    """Enqueue with the client, as one who has the arguments as text."""
    expires = timedelta(seconds=given.pop("expires_in")) if "expires_in" in given else given.pop("expires_at", None)
    options = {**given, "expires": datetime.fromisoformat(expires) if isinstance(expires, str) else expires}
    options.pop("wake", None)
    if "run_at" in options:
        options["run_at"] = datetime.fromisoformat(options["run_at"])
    task, payload, version = options.pop("task"), _payload(options), options.pop("version", 1)
    if "retry" in options:
        options["retry"] = Retry.from_options(options["retry"])
    if "unique" in options:
        options["unique"] = Unique(**options["unique"])
    with Client(db.url) as client:
        return client.jobs.enqueue(JobSpec(task=task, payload=payload, version=version), **options).id


def by_sql(db: Database, given: dict[str, Any]) -> int:
    """Enqueue with enqueue_v1."""
    for name in ("delay", "expires_in"):
        if name in given:
            given[name] = f"{given[name]} seconds"
    if "payload" in given or "payload_bytes" in given or "payload_text" in given:
        given["payload"] = _payload(given)
    for name, value in given.pop("unique", {}).items():
        given[f"unique_{name}"] = f"{value} seconds" if name == "lifetime" else value
    for name in ("retry", "context"):
        if name in given:
            given[name] = json.dumps(given[name])
    return enqueue_v1(db.connect(), **given)


both = pytest.mark.parametrize("enqueue", [by_python, by_sql])


@both
@pytest.mark.parametrize("vector", ENQUEUE["accepted"], ids=lambda vector: vector["name"])
def test_an_accepted_vector_gives_its_job(db: Database, enqueue: Enqueue, vector: dict[str, Any]) -> None:
    """The job that stands in the database is the vector's, whoever enqueued it [DW-12]."""
    id = enqueue(db, dict(vector["given"]))

    with Client(db.url) as client:
        job = client.jobs.get(id)
    plain = {"task": vector["given"]["task"], "queue": "default", "key": None, "place": "ready", "priority": 5}
    expected = {**plain, "payload": {}, "tags": [], "options": {}, **vector["job"]}
    assert _told(job, expected) == expected


def _told(job: Job, expected: dict[str, Any]) -> dict[str, Any]:
    """The job in the words of the vector; a span that is right within its tolerance is shown as the vector's own."""
    told: dict[str, Any] = {}
    for name, value in expected.items():
        match name:
            case "payload_bytes":
                continue
            case "due_in" | "expires_in":
                moment = job.run_at if name == "due_in" else job.expires_at
                assert moment is not None
                span = (moment - job.created_at).total_seconds()
                told[name] = value if 0 <= span - value < SECONDS_MAX else span
            case "run_at" | "expires_at":
                told[name] = getattr(job, name).astimezone(datetime.fromisoformat(value).tzinfo).isoformat()
            case "tags":
                told[name] = list(job.tags)
            case _:
                told[name] = getattr(job, name)
    if "payload_bytes" in expected:
        told["payload_bytes"] = len(json.dumps(job.payload))
        told["payload"] = {}
    return told


@both
@pytest.mark.parametrize("vector", ENQUEUE["refused"], ids=lambda vector: vector["name"])
def test_a_refused_vector_writes_nothing(db: Database, enqueue: Enqueue, vector: dict[str, Any]) -> None:
    """The refusal names the vector's field and kind, with a fix, and there is neither job nor queue [DW-12].

    Guard: everything is checked before the first row is written.
    """
    refusal = vector["refusal"]
    with pytest.raises((PerdureError, psycopg.Error)) as caught:
        enqueue(db, dict(vector["given"]))

    error = caught.value
    if isinstance(error, PerdureError):
        assert (error.code, bool(error.fix)) == (refusal["code"], True)
        assert error.field == refusal.get("argument", refusal["field"])
    else:
        assert isinstance(error, psycopg.Error)
        assert error.sqlstate == refusal["sqlstate"]
        if str(error.sqlstate).startswith("PD"):
            assert (error.diag.column_name, bool(error.diag.message_hint)) == (refusal["field"], True)
    found = db.connect().execute("select (select count(*) from perdure.job), (select count(*) from perdure.queue)")
    assert found.fetchone() == (0, 0)


@pytest.mark.parametrize("until", ["started", "done", "expired"])
def test_a_key_that_sql_meets_is_the_client_s(db: Database, until: str) -> None:
    """enqueue_v1 and the client take the same keys: what one holds the other meets, skips, is refused, or replaces, and
    both free a key that nobody needs [DW-12, DW-58]. Guard: the function's scope and its rule of what is free."""
    conn, lifetime = db.connect(), {"unique_lifetime": "1 hour"} if until == "expired" else {}
    said = {"task": "t", "unique_key": "k", "unique_until": until, **lifetime}
    unique = Unique("k", until=until, lifetime=3_600 if until == "expired" else None)  # type: ignore[arg-type]
    with Client(db.url) as client:
        first = client.jobs.enqueue(JobSpec(task="t", payload="{}", unique=unique))
        skipped = enqueue_v1(conn, **said)
        with pytest.raises(psycopg.Error) as caught:
            enqueue_v1(conn, **said, on_conflict="raise")
        replaced = enqueue_v1(conn, **said, on_conflict="replace", payload='{"new": 1}', delay="1 hour")
        job = client.jobs.get(first.id)
        again = client.jobs.enqueue(JobSpec(task="t", payload='{"new": 1}', unique=unique))
        conn.execute("update perdure.unique_key set expires_at = now() where expires_at is not null")
        if until != "expired":
            client.jobs.cancel(first.id)
        after = enqueue_v1(conn, **said)

    assert (skipped, replaced, again.id) == (first.id, first.id, first.id)
    assert (caught.value.sqlstate, caught.value.diag.column_name) == ("PD004", "unique")
    assert (job.place, job.payload, again.differs) == ("scheduled", {"new": 1}, False)
    assert after != first.id


@pytest.mark.parametrize(("name", "field"), [("run_at", "run_at"), ("expires_at", "expires")])
@pytest.mark.parametrize("value", ["infinity", "-infinity", "20000-01-01"])
def test_a_moment_that_only_sql_can_say_is_refused(db: Database, name: str, field: str, value: str) -> None:
    """A moment that no client could read back is refused by enqueue_v1, which alone can be given it."""
    with pytest.raises(psycopg.Error) as caught:
        enqueue_v1(db.connect(), task="t", **{name: value})

    assert (caught.value.sqlstate, caught.value.diag.column_name) == ("PD001", field)


def _stand(conn: psycopg.Connection[Any], place: str | None) -> int:
    """A job in that place, put there by hand; an id of none for None."""
    if place is None:
        return 1_000_000
    id = enqueue_v1(conn, task="t", delay="1 hour" if place == "scheduled" else "0")
    if place in ("ready", "scheduled"):
        return id
    conn.execute("delete from perdure.ready where id = %s", [id])
    if place == "held":
        conn.execute("insert into perdure.held (id, reason) values (%s, 'unknown_task')", [id])
    elif place == "dead":
        conn.execute("insert into perdure.dead (id, reason) values (%s, 'exhausted')", [id])
    elif place == "leased":
        conn.execute("insert into perdure.lease (worker, jobs, generations) values (1, array[%s::bigint], '{0}')", [id])
    else:
        conn.execute(
            "with gone as (delete from perdure.job where id = %s returning *) "
            "insert into perdure.history "
            "(id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, payload) "
            "select id, created_at, now(), lane, generation, 1, 0, 'completed', task, payload from gone",
            [id],
        )
    return id


def cancel_by_python(db: Database, id: int) -> str:
    """Cancel with the client."""
    with Client(db.url) as client:
        try:
            return client.jobs.cancel(id, reason="not wanted")
        except JobNotFound:
            return "missing"


def cancel_by_sql(db: Database, id: int) -> str:
    """Cancel with cancel_v1."""
    row = db.connect().execute("select perdure.cancel_v1(%s, reason => 'not wanted')", [id]).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("cancel", [cancel_by_python, cancel_by_sql])
@pytest.mark.parametrize("case", CANCEL["cases"], ids=lambda case: str(case["stands"]))
def test_a_cancel_answers_as_its_vector(db: Database, cancel: Callable[..., str], case: dict[str, Any]) -> None:
    """A cancel gives the vector's answer and leaves the job where the vector says, with the reason kept."""
    conn = db.connect()
    id = _stand(conn, case["stands"])

    assert cancel(db, id) == case["answer"]

    found = conn.execute("select place, outcome, error from perdure.jobs where id = %s", [id]).fetchone()
    error = "not wanted" if case["answer"] == "cancelled" else None
    assert found == ((case["then"], case["outcome"], error) if case["then"] else None)
    asked = conn.execute("select id, reason from perdure.cancel_request").fetchall()
    assert asked == ([(id, "not wanted")] if case["answer"] == "requested" else [])
    left = conn.execute("select count(*) from perdure.ready").fetchone()
    assert left == (0,)


def test_a_function_of_several_statements_locks_ready_first(db: Database) -> None:
    """enqueue_v1 and cancel_v1 hold the lock that the claim floor watches before they draw a position or take one."""
    conn = db.connect()
    bodies = conn.execute(
        "select proname, prosrc from pg_proc where pronamespace = 'perdure'::regnamespace and proname like '%\\_v1'"
    ).fetchall()

    assert {name for name, _ in bodies} >= {"enqueue_v1", "cancel_v1"}
    first = re.compile(r"lock table perdure\.ready(, perdure\.scheduled)? in row exclusive mode;")
    assert [name for name, body in bodies if not first.match(body.partition("begin")[2].strip())] == []


@pytest.mark.parametrize("said", ["unique_scope => 'queue'", "unique_until => 'started'", "unique_lifetime => '1 h'"])
def test_what_is_said_of_a_key_that_is_not_given_is_refused(db: Database, said: str) -> None:
    """``enqueue_v1`` refuses a scope, an end or a lifetime without a key, and writes nothing."""
    conn = db.connect()
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(f"select perdure.enqueue_v1('t', {said})".encode())

    assert caught.value.sqlstate == "PD001"
    assert conn.execute("select count(*) from perdure.job").fetchone() == (0,)
