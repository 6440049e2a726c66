"""Golden vectors of full queues: the client, in a transaction, and enqueue_v1 take in, put off and refuse the same."""

from __future__ import annotations

import json
from datetime import datetime
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
