"""The lifecycle table against itself, and against the words the schema and the settler use."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from perdure.jobs.states import LEGAL, MOVES, Move, mermaid, targets
from perdure.jobs.view import Place
from perdure.jobs.work import Verdict
from tests.tidy import source

ACT_OF_VERDICT = {
    "completed": "complete",
    "cancelled": "cancel",
    "expired": "expire",
    "dead": "bury",
    "held": "park",
    "returned": "give_back",
    "crashed": "isolate",
    "deferred": "isolate",
    "waiting": "wait",
}


def test_a_move_stands_in_the_table_once() -> None:
    """No two lines of the table say the same move."""
    assert len(LEGAL) == len(MOVES)


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_every_verdict_is_a_way_out_of_a_lease(verdict: str) -> None:
    """Whatever a handler's end may be, the table has one place for it; only for a suspect's there are two, since the
    statement counts its crashes."""
    act = ACT_OF_VERDICT.get(verdict, verdict)

    found = {move.target for move in MOVES if move.source == "leased" and move.act == act}
    assert found == {"scheduled", "dead"} if act == "isolate" else len(found) == 1


def test_whatever_leaves_a_lease_alive_gets_a_new_generation() -> None:
    """Out of a lease and not into history means a new generation, so that the former holder is stale; and a redrive
    gives one too. Nothing else does."""
    bumping = {(move.source, move.act) for move in MOVES if move.bumps}
    alive = {(move.source, move.act) for move in MOVES if move.source == "leased" and move.target != "history"}

    assert bumping == alive | {("dead", "redrive")}


def test_every_job_can_end_and_an_ended_one_stays() -> None:
    """From every place history can be reached, and nothing leaves history."""
    ending: set[str] = {"history"}
    while more := {move.source for move in MOVES if move.target in ending and move.source} - ending:
        ending |= more

    assert {move.source for move in MOVES if move.source} | {"history"} == ending
    assert [move for move in MOVES if move.source == "history"] == []


def test_the_table_uses_the_view_s_words() -> None:
    """Places are those of the view perdure.jobs."""
    used = {move.target for move in MOVES}
    schema = (source.PACKAGE / "sql" / "schema.sql").read_text()
    view = schema.split("CREATE VIEW perdure.jobs")[1].split("UNION ALL")[0]

    assert used == set(get_args(Place))
    assert used == set(re.findall(r"(?:THEN|ELSE) '(\w+)'", view)) | {"history"}


def test_what_is_no_move_has_no_target() -> None:
    """An act that isn't legal in a place leads nowhere."""
    assert targets("history", "claim") == frozenset()
    assert targets("dead", "claim") == frozenset()
    assert targets("leased", "rescue") == {"ready", "scheduled", "dead"}


def test_the_diagram_has_one_arrow_for_a_pair_of_places() -> None:
    """Acts between the same two places share an arrow."""
    moves = (Move("leased", "retry", "scheduled", True, ""), Move("leased", "give_back", "scheduled", True, ""))
    drawn = mermaid(moves)

    assert drawn.splitlines() == [
        "stateDiagram-v2", "    leased --> scheduled: retry, give back", "    history --> [*]"
    ]  # fmt: skip
