"""Whose turn a duty is, decided from what is remembered of it."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core import limits
from perdure.fleet import rules
from perdure.fleet.model import Memory, Turn

ME, OTHER = 1, 2
FREE: dict[str, Any] = {
    "mine": True, "failures": 0, "batch": None, "running_on": None, "runs": False, "left_cleanly": False, "due_in": 0.0,
    "succeeded_ago": None, "crashes": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "turn"),
    [
        ({}, Turn(True)),
        ({"mine": False}, Turn(False, rules.BUSY_SECONDS)),
        ({"due_in": 7.0}, Turn(False, 7.0)),
        ({"running_on": OTHER, "runs": True}, Turn(False, rules.BUSY_SECONDS)),
        ({"running_on": OTHER}, Turn(False, crashed=True)),
        ({"running_on": ME, "runs": True}, Turn(False, crashed=True)),
        ({"running_on": OTHER, "left_cleanly": True}, Turn(True)),
        ({"running_on": OTHER, "crashes": limits.CRASHES_MAX}, Turn(False, crashed=True)),
        ({"crashes": limits.CRASHES_MAX}, Turn(False, rules.SAFE_SECONDS, paused=True)),
        ({"crashes": limits.CRASHES_MAX - 1}, Turn(True)),
    ],
)
def test_a_duty_is_done_when_it_is_due_and_nobody_does_it(told: dict[str, Any], turn: Turn) -> None:
    """One that another living worker does is left alone; one that was begun by a worker that is gone, or by this one,
    has failed, also in a crash loop, which pauses the others; one whose worker was stopped on the way is done."""
    assert rules.turn(Memory(**(FREE | told)), ME) == turn
