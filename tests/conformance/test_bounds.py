"""Golden vectors of full queues: the client, in a transaction, and enqueue_v1 take in, put off and refuse the same."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure import App, Client, JobSpec
from perdure.core.errors import PerdureError
from tests.conformance.ways import enqueue_v1
from tests.conftest import Database

VECTORS = json.loads((Path(__file__).parent / "vectors" / "bounds.json").read_text())["vectors"]


def by_python(client: Client, db: Database, given: dict[str, Any]) -> int:
    """In a transaction of the client's, where nothing waits."""
    with client.transaction() as tx:
        return tx.jobs.enqueue(JobSpec(task="work", payload="{}"), **given).id


def by_sql(client: Client, db: Database, given: dict[str, Any]) -> int:
    """As any language would."""
    said = dict(given)
    if "delay" in said:
        said["delay"] = f"{said['delay']} seconds"
    if "context" in said:
        said["context"] = json.dumps(said["context"])
    return enqueue_v1(db.connect(), task="work", **said)


@pytest.mark.parametrize("enqueue", [by_python, by_sql])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_full_queue_reacts_alike_on_every_way_in(db: Database, enqueue: Any, vector: dict[str, Any]) -> None:
    """With the vector's jobs standing in the bounded queue, one more ends where the vector says, or is refused by its
    name, whoever enqueues it [ARC-7, ARC-13]. Red when enqueue_v1 doesn't ask for room."""
    app = App("shop")
    app.queue("default", **vector["rule"])
    with Client(db.url) as client:
        for priority in vector["standing"]:
            client.jobs.enqueue(JobSpec(task="work", payload="{}", priority=priority))
        client.queues.declare(app)
        if "refused" in vector:
            with pytest.raises((PerdureError, psycopg.Error)) as caught:
                enqueue(client, db, vector["given"])
            _is_the_vector_s(caught.value, vector)
        else:
            job = client.jobs.get(enqueue(client, db, vector["given"]))
            assert job.place == vector["place"]
            if "run_at" in vector:
                assert job.run_at == datetime.fromisoformat(vector["run_at"])
            if "due_in" in vector:
                assert job.run_at is not None
                assert 0 <= (job.run_at - job.created_at).total_seconds() - vector["due_in"] < 60
        depths = {queue.name: queue.ready for queue in client.queues.list()}
        assert depths.get("default", 0) == vector["depth"]


def _is_the_vector_s(error: BaseException, vector: dict[str, Any]) -> None:
    if isinstance(error, PerdureError):
        assert (error.code, error.field, bool(error.fix)) == (vector["code"], vector["refused"], True)
        return
    assert isinstance(error, psycopg.Error)
    assert (error.sqlstate, error.diag.column_name) == (vector["sqlstate"], vector["refused"])
    assert error.diag.message_hint
    assert error.sqlstate != "PD005" or error.diag.message_detail == "300"


def _replace_by_python(client: Client, db: Database, queue: str) -> None:
    with client.transaction() as tx:
        tx.jobs.enqueue(JobSpec(task="work", payload='{"n": 2}'), queue=queue, unique="k", on_conflict="replace")


def _replace_by_sql(client: Client, db: Database, queue: str) -> None:
    said = "select perdure.enqueue_v1('work', '{\"n\": 2}', queue => %s, unique_key => 'k', on_conflict => 'replace')"
    db.connect().execute(said, [queue])


@pytest.mark.parametrize("replace", [_replace_by_python, _replace_by_sql])
def test_a_replacement_asks_for_room_as_a_newcomer_does(db: Database, replace: Any) -> None:
    """A job that waits isn't moved into a full queue by being replaced, nor without a tenant into one that requires it:
    that is refused, and the job stays as it was; into a queue with room it goes [ARC-7]. Red when a replacement passes
    by the guard of its queue."""
    app = App("shop")
    app.queue("full", max_depth=2, when_full="reject")
    app.queue("named", tenant_required=True)
    app.queue("roomy", max_depth=2, when_full="reject")
    with Client(db.url) as client:
        client.queues.declare(app)
        client.jobs.enqueue_many([JobSpec(task="work", payload="{}", queue="full")] * 2)
        job = client.jobs.enqueue(JobSpec(task="work", payload='{"n": 1}', delay=timedelta(hours=1)), unique="k")
        for queue in ("full", "named"):
            with pytest.raises((PerdureError, psycopg.Error)):
                replace(client, db, queue)
            kept = client.jobs.get(job.id)
            assert (kept.queue, kept.place, kept.payload) == ("default", "scheduled", {"n": 1})
        replace(client, db, "roomy")
        moved = client.jobs.get(job.id)

    assert (moved.queue, moved.place, moved.payload) == ("roomy", "ready", {"n": 2})
