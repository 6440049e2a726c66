"""Explain: what it says of runs, which are mended otherwise than jobs, and may be half undone."""

from __future__ import annotations

import ast

import pytest

from perdure.admin.explain import explain
from perdure.admin.reasons import DEAD, DEAD_RUN, HELD, HELD_RUN
from perdure.jobs.ops import control
from tests.rooms.admin.surgery import ended, is_run
from tests.rooms.jobs.stage import Stage
from tests.tidy import source


@pytest.mark.parametrize(
    ("place", "reason"), [*(("held", each) for each in HELD_RUN), *(("dead", each) for each in DEAD_RUN)]
)
def test_a_run_is_mended_as_a_run(stage: Stage, place: str, reason: str) -> None:
    """What is to be done about a run's job is said in commands for its run: a redrive of the job alone would make it
    dead again, and what was undone can't be retried. Red when a run is explained as any job."""
    job = ended(stage, place, reason=reason, text="it failed", key="work")
    found = stage.main.run(explain(is_run(stage, job, "order 1", "charge: is no step\n--- recorded\n+++ code")))

    assert found is not None
    assert (found.place, found.code) == (place, reason)
    assert "perdure jobs re" not in str(found.fix).replace(f"perdure jobs retry {job}", "")
    if place == "dead":
        undone = reason in ("compensated", "deadline")
        assert ("perdure workflows retry 'order 1'" in str(found.fix)) is not undone
        assert ("perdure workflows fork 'order 1' NEW-ID" in str(found.fix)) is undone
    if reason in ("invalid", "diverged"):
        assert found.because.endswith(": charge: is no step")
        assert "perdure workflows resume 'order 1'" in str(found.fix)
        assert "until it is resumed" in found.next


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_run_that_code_turns_round_while_it_is_undone_is_rewound(stage: Stage, cancelled: bool) -> None:
    """A run that is parked half undone, because mended code doesn't fail any more, is told with what has begun to be
    undone, and with the command that does all of it anew; not one that is cancelled, which would be undone again. Red
    when it is explained as any that doesn't fit."""
    job = is_run(stage, ended(stage, "held", reason="diverged", key="work"))
    steps = [("a", "step", "done"), ("b 1", "step", "done"), ("c", "step", "failed"), ("undo c", "undo", "done"),
             ("undo b 1", "undo", "retry")]  # fmt: skip
    for seq, (name, kind, state) in enumerate(steps, 1):
        say = (
            "insert into perdure.step (run, name, seq, kind, state, attempt, ended_at) values (%s, %s, %s, %s, %s, 1, "
        )
        stage.main.sql(f"{say}{'null' if state == 'retry' else 'now()'})", [job, name, seq, kind, state])
    if cancelled:
        stage.main.run(control.cancel(job))
    found = stage.main.run(explain(job))

    assert found is not None
    assert found.next.endswith("; undone so far: c; owed: b 1 (begun), and what of a is to be compensated")
    assert ("perdure workflows rewind checkout:1 'b 1' does anew" in str(found.fix)) is not cancelled


def test_every_reason_of_a_run_has_an_explanation() -> None:
    """No run can be parked, or die, for a reason of its own that explain has no words for. Red when one is added."""
    given: dict[str, set[str]] = {"_held": set(), "_dead": set()}
    for path in source.python_files("src"):
        for node in ast.walk(source.tree(path)):
            if isinstance(node, ast.Call) and (by := source.dotted(node.func).removeprefix("self.")) in given:
                said = [each for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant)] if node.args else []
                given[by] |= {str(each.value) for each in said}
    given["_held"].discard("diff")

    assert given["_held"] | HELD.keys() == HELD_RUN.keys()
    assert given["_dead"] | DEAD.keys() == DEAD_RUN.keys()
