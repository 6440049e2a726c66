"""What the guarantees are put to the test with: how far up the ladder a system has come, and which controls it has off.

The rungs are those of ``admin.stage``. What a rung adds is off below it, and what it promises isn't asked for there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..admin.stage import RUNGS
from ..core.errors import InvalidOption

SEVERAL, CONTROLS = 3, 5
"""The rungs that add workers beside the first, and the controls."""

MISSING = (4, 6)
"""Rungs whose parts don't exist yet: keys owned by workers, and what leaves this database."""

SWITCHES: Mapping[str, Mapping[str, Any]] = {
    "wake-ups": {"listen": False},
    "housekeeping": {"housekeeping": False},
    "drain": {"drain_seconds": 0.0},
}
"""What a worker is told to have a control off."""

FIXED: Mapping[str, str] = {
    "renewal": "a worker that doesn't beat is a dead one",
    "fencing": "what settles a job names its generation, or settles nothing",
}
"""Controls that can't be off, and why."""


@dataclass(frozen=True, slots=True)
class Setup:
    """``stage``: the rung; what is promised above it isn't asked for. ``options``: what its workers are told.

    ``without``: the control that is off, whose own promise isn't asked for either.
    """

    stage: int = len(RUNGS)
    options: Mapping[str, Any] = field(default_factory=dict)
    without: str | None = None

    @property
    def alone(self) -> bool:
        """Whether there is one worker at a time."""
        return self.stage < SEVERAL

    @property
    def missing(self) -> list[str]:
        """What it would have as well, if that existed."""
        return [f"stage {number} ({RUNGS[number - 1].name})" for number in MISSING if number <= self.stage]


def setup(stage: int | None = None, without: str | None = None) -> Setup:
    """Everything up to that rung, or everything but that control; or everything. Raises InvalidOption."""
    if stage is not None and without is not None:
        raise InvalidOption("and --stage are two questions", field="--without", fix="give one of them at a time")
    if without is not None:
        if (why := FIXED.get(without)) is not None:
            raise InvalidOption(f"{without} can't be off: {why}", field="--without", fix=f"try {_known()}")
        if without not in SWITCHES:
            raise InvalidOption(f"{without!r} is no control", field="--without", fix=f"try {_known()}")
        return Setup(options=SWITCHES[without], without=without)
    if stage in MISSING:
        name = RUNGS[stage - 1].name
        raise InvalidOption(f"stage {stage} ({name}) doesn't exist yet", field="--stage", fix="try another one")
    if stage is None or stage >= CONTROLS:
        return Setup(stage or len(RUNGS))
    return Setup(stage, {name: value for each in SWITCHES.values() for name, value in each.items()})


def _known() -> str:
    return ", ".join(SWITCHES)
