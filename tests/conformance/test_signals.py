"""Golden vectors of signals: the client and signal_v1 answer the same, and leave the run where it is to stand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest

from perdure import App, Client, PerdureError, Workflow
from perdure.core.run_errors import WorkflowFinished, WorkflowNotFound
from tests.conftest import Database

VECTORS = json.loads((Path(__file__).parent / "vectors" / "signal.json").read_text())

Send: TypeAlias = Callable[[Database, dict[str, Any]], str]

app = App("shop")


@app.workflow
async def checkout(wf: Workflow) -> object:
    """A run that is never run: the vectors put it where it stands."""
    return await wf.signal("paid")


def _payload(vector: dict[str, Any]) -> str | None:
    if "payload_bytes" in vector:
        return json.dumps("x" * (vector["payload_bytes"] - 2))
    if "payload_levels" in vector:
        return "[" * int(vector["payload_levels"]) + "]" * int(vector["payload_levels"])
    text = vector.get("payload_text", "1")
    return None if text is None else str(text)


def _said(vector: dict[str, Any]) -> tuple[str, str, str | None]:
    """The id, the signal's name and its key."""
    id = "r" * vector["id_chars"] if "id_chars" in vector else vector.get("id", "r")
    name = "s" * vector["signal_chars"] if "signal_chars" in vector else vector.get("signal", "paid")
    key = "k" * vector["key_chars"] if "key_chars" in vector else vector.get("key")
    return str(id), str(name), None if key is None else str(key)


def by_python(db: Database, vector: dict[str, Any]) -> str:
    """Send with the client; what it raises of the run's state in a word."""
    id, name, key = _said(vector)
    payload = _payload(vector)
    with Client(db.url) as client:
        try:
            sent = client.workflows.signal(id, name, None if payload is None else json.loads(payload), key=key)
        except WorkflowFinished:
            return "finished"
        except WorkflowNotFound:
            return "missing"
    return "sent" if sent else "duplicate"


def by_sql(db: Database, vector: dict[str, Any]) -> str:
    """Send with signal_v1, as any language would."""
    id, name, key = _said(vector)
    row = db.connect().execute("select perdure.signal_v1(%s, %s, %s, %s)", [id, name, _payload(vector), key]).fetchone()
    assert row is not None
    return str(row[0])


both = pytest.mark.parametrize("send", [by_python, by_sql])


def _stand(db: Database, vector: dict[str, Any]) -> int:
    """A run where the vector says, put there by hand; its job."""
    conn, place = db.connect(), vector["stands"]
    if place is None:
        return 0
    with Client(db.url) as client:
        job = client.workflows.start(checkout.run(), id="r").job
    if place == "superseded":
        conn.execute("update perdure.run set superseded = true")
    elif place != "ready":
        conn.execute("delete from perdure.ready where id = %s", [job])
    if place in ("waiting", "held", "dead"):
        said = {"waiting": "(id)", "held": "(id, reason)", "dead": "(id, reason)"}[place]
        values = {"waiting": "(%s)", "held": "(%s, 'unknown_task')", "dead": "(%s, 'failed')"}[place]
        conn.execute(f"insert into perdure.{place} {said} values {values}".encode(), [job])
    elif place == "leased":
        conn.execute(
            "insert into perdure.lease (worker, jobs, generations) values (1, array[%s::bigint], '{0}')", [job]
        )
    elif place == "history":
        conn.execute(
            "with gone as (delete from perdure.job where id = %s returning *) "
            "insert into perdure.history "
            "(id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, payload) "
            "select id, created_at, now(), lane, generation, 1, 0, 'completed', task, payload from gone",
            [job],
        )
    if "asks" in vector:
        conn.execute(
            "insert into perdure.step (run, name, seq, kind, state, attempt, detail) "
            "values (%s, 'signal', 1, 'signal', 'waiting', 0, %s)",
            [job, vector["asks"]],
        )
    if "sent" in vector:
        conn.execute("insert into perdure.signal (run, name, key, payload) values (%s, 'paid', %s, '0')", [job, "k"])
        conn.execute("update perdure.signal set key = %s", [vector["sent"]])
    return int(job)


@both
@pytest.mark.parametrize("vector", VECTORS["cases"], ids=lambda vector: vector["name"])
def test_a_signal_is_answered_as_its_vector(db: Database, send: Send, vector: dict[str, Any]) -> None:
    """A signal gets the vector's answer, is kept with its payload or isn't, and wakes the run that waits for it and no
    other, whoever sends it [DW-196, DW-198]. Red when signal_v1 wakes a run that waits for another signal."""
    job = _stand(db, vector)
    conn = db.connect()
    before = {id for (id,) in conn.execute("select id from perdure.signal")}

    assert send(db, vector) == vector["answer"]

    kept = [
        (name, key, json.loads(payload))
        for id, name, key, payload in conn.execute("select id, name, key, payload::text from perdure.signal")
        if id not in before
    ]
    _, name, key = _said(vector)
    assert kept == ([(name, key, json.loads(_payload(vector) or "null"))] if vector["kept"] else [])
    place = conn.execute("select place from perdure.jobs where id = %s", [job]).fetchone()
    assert place == (None if vector["then"] is None else (vector["then"],))
    twice = conn.execute(
        "select count(*) from (select id from perdure.ready union all select id from perdure.waiting) x"
    )
    assert twice.fetchone() == (1 if vector["then"] in ("ready", "waiting") else 0,)


@both
@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_a_refused_signal_keeps_nothing(db: Database, send: Send, vector: dict[str, Any]) -> None:
    """What the vector refuses is refused by its field and kind, with a fix, and neither kept nor does it wake anybody.
    Red when signal_v1 takes what no worker could read back."""
    _stand(db, {"stands": "waiting", "asks": "paid"})

    with pytest.raises((PerdureError, psycopg.Error)) as caught:
        send(db, vector)

    error = caught.value
    if isinstance(error, PerdureError):
        code = vector.get("value_code", vector["code"])
        assert (error.code, error.field, bool(error.fix)) == (code, vector["field"], True)
    else:
        assert isinstance(error, psycopg.Error)
        assert (error.sqlstate, error.diag.column_name) == (vector["sqlstate"], vector["field"])
        assert error.diag.message_hint
    left = db.connect().execute("select (select count(*) from perdure.signal), (select count(*) from perdure.waiting)")
    assert left.fetchone() == (0, 1)
