"""``perdure machines``: where entities stand, how one came there, what is stuck, and the diagram."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure import Client
from perdure.cli.program import run
from tests.cli.conftest import Ask
from tests.conftest import Database
from tests.rooms.machines.test_machines import ORDER, SHOP


def test_machines_are_seen_from_a_terminal(
    db: Database, ask: Ask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """States are counted, an entity's moves are told, one that has stood too long is listed and found by the doctor;
    an app's machine is drawn. Red when a command asks another question than it says."""
    monkeypatch.chdir(Path(__file__).parents[2])
    with Client(db.url) as client:
        client.machines.declare(SHOP)
        client.machines.create(ORDER, "1")
        client.machines.move(ORDER, "1", "pay", facts={"cents": 100}, by="user:7")
    conn = db.connect()
    conn.execute("alter table perdure.entity disable trigger user")
    conn.execute("update perdure.entity set stuck_at = now() - interval '1 minute'")

    states = ask("machines")
    assert {each["state"]: (each["entities"], each["stuck"]) for each in states if each["entities"]} == {"paid": (1, 1)}
    shown = ask("machines", "get", "order", "1")
    assert [(move["event"], move["moved_by"]) for move in shown["moves"]] == [(None, None), ("pay", "user:7")]
    stuck = ask("machines", "stuck")
    assert [each["id"] for each in stuck] == ["1"]
    findings = ask("doctor", code=1)
    assert {each["check"]: each["status"] for each in findings}["machines.stuck"] == "warn"
    assert run(["machines", "get", "order", "2"]) == 1
    assert "error: order 2: there is none" in capsys.readouterr().err
    assert run(["machines", "diagram", "tests.rooms.machines.test_machines:SHOP", "order"]) == 0
    assert capsys.readouterr().out.startswith("stateDiagram-v2")
