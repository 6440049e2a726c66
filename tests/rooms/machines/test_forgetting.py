"""Entities that have come to their end are forgotten, with all that has happened to them."""

from __future__ import annotations

import psycopg
import pytest

from perdure import Client
from perdure.machines import errors
from tests.conftest import Database
from tests.rooms.machines.test_machines import ORDER, SHOP


def test_an_entity_goes_with_its_history_or_stays(db: Database) -> None:
    """Nobody deletes an entity that isn't in a final state, nor rewrites what has happened to one, with whatever
    program; one in a final state goes with its history, by the client or by plain SQL, and its id begins anew
    [PAT-13, PAT-14]. Red when a plain DELETE leaves a history without a state, and when it takes a live entity."""
    conn, client = db.connect(), Client(db.url)
    client.machines.declare(SHOP)
    for id in ("1", "2", "3"):
        client.machines.create(ORDER, id)
        client.machines.move(ORDER, id, "pay", facts={"cents": 100})
    for statement in (
        "delete from perdure.entity",
        "delete from perdure.entity_move where revision = 0",
        "update perdure.entity_move set moved_by = 'nobody'",
    ):
        with pytest.raises(psycopg.Error) as refused:
            conn.execute(statement.encode())
        assert refused.value.sqlstate == "PD010", statement
    with pytest.raises(errors.IllegalTransition, match="stands in paid, which isn't final"):
        client.machines.forget(ORDER, "1")
    for id in ("1", "2"):
        client.machines.move(ORDER, id, "ship")

    conn.execute("delete from perdure.entity where machine = 'order' and id = '1'")
    assert client.machines.forget(ORDER, "2").revision == 2
    with pytest.raises(errors.EntityNotFound):
        client.machines.forget(ORDER, "2")
    kept = conn.execute("select id, count(*) from perdure.entity_move group by id").fetchall()
    assert kept == [("3", 2)]
    assert client.machines.create(ORDER, "1").revision == 0
    assert len(client.machines.history(ORDER, "1")) == 1
    client.close()
