"""What the doctor says of waits for locks, and of a pooler."""

from __future__ import annotations

import json

import pytest

from perdure.admin import doctor
from perdure.admin.doctor import pooler as checks
from perdure.pg.connect import BOUNDS, Bounds
from tests.cli.terminal import perdure
from tests.conftest import Database
from tests.pooler import Pooler
from tests.rooms.admin.surgery import examined
from tests.rooms.jobs.stage import Stage


@pytest.mark.parametrize(
    ("after", "status", "said"),
    [
        ("1s", "ok", "after 1000 ms"),
        ("500ms", "ok", "500 ms"),
        ("10ms", "warn", "every brief wait"),
        ("30s", "warn", "holds everybody up"),
    ],
)
def test_the_search_for_deadlocks_is_looked_at(stage: Stage, after: str, status: str, said: str) -> None:
    """deadlock_timeout between 500 ms and 10 s is fine; outside, the finding says in words why not, and nothing of ours
    ever sets it [OPS-19]. Red when either bound is left out."""
    stage.main.sql(f"set deadlock_timeout = '{after}'")
    found = examined(stage)["pg.deadlock_timeout"]

    assert (found.status, said in found.message) == (status, True)


def test_the_order_of_time_outs_is_looked_at(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of connection that waits for a lock as long as its statements may run fails; one that gives up before
    deadlock_timeout is told of. The bounds of every class are shown [OPS-18, OPS-20]. Red when equal ones pass."""
    found = examined(stage)["pg.timeout_order"]
    assert (found.status, found.evidence["bounds"]["app"]) == ("ok", {"lock_ms": 5_000, "statement_ms": 30_000})
    assert found.evidence["bounds"].keys() == BOUNDS.keys()
    assert all(of.lock_ms for of in BOUNDS.values())
    stage.main.sql("set deadlock_timeout = '3s'")
    assert "claim, settle" in examined(stage)["pg.timeout_order"].message
    monkeypatch.setitem(BOUNDS, "claim", Bounds(lock_ms=2_000, statement_ms=2_000, idle_in_transaction_ms=1))
    found = examined(stage)["pg.timeout_order"]
    assert (found.status, "connections for claim wait" in found.message) == ("fail", True)


def test_a_url_that_turns_the_time_outs_round_is_found(db: Database) -> None:
    """What the URL sets wins over the class, so the doctor looks at its own session, too [OPS-20]."""
    url = f"{db.url}&options=-c%20statement_timeout%3D30s%20-c%20lock_timeout%3D40s"
    found = {each["check"]: each for each in json.loads(perdure("doctor", "--json", url=url).stdout)}

    assert found["pg.timeout_order"]["status"] == "fail"
    assert "this session" in found["pg.timeout_order"]["message"]


@pytest.mark.parametrize(("set", "status"), [("on", "ok"), ("off", "warn")])
def test_a_server_that_logs_no_waits_is_told_to(stage: Stage, set: str, status: str) -> None:
    """Before real work depends on it, log_lock_waits belongs on [OPS-27]."""
    stage.main.sql(f"set log_lock_waits = {set}")

    assert examined(stage, doctor.DEPLOY)["pg.log_lock_waits"].status == status


def test_a_pooler_is_told_of(db: Database, pooler: Pooler) -> None:
    """The doctor works through a pooler and says what it takes away, and what to set [KIT-20]. Red when the subject
    doesn't know of it."""
    found = {}
    for name, url, straight in [
        ("straight", db.url, ""),
        ("pooled", pooler.url(db.name), ""),
        ("both", pooler.url(db.name), db.url),
    ]:
        answer = json.loads(perdure("doctor", "--json", url=url, PERDURE_DIRECT_URL=straight).stdout)
        found[name] = next((each["status"], each["message"]) for each in answer if each["check"] == checks.NAME)

    assert [status for status, _ in found.values()] == ["ok", "warn", "ok"]
    assert "set PERDURE_DIRECT_URL" in found["pooled"][1]
