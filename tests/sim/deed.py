"""What an actor asks for, and what all of them share."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from perdure.core.op import Op
from tests.sim.plan import Plan
from tests.sim.stand import Stand
from tests.sim.truth import Judge, Model


@dataclass(slots=True)
class Deed:
    """An op to be driven. ``together``: its statements are one transaction. ``judge`` says what it answers for; None
    for an op that moves nothing. ``reads``: it only reads, so that its commit would be no step; it is left open.
    ``abandon``: its caller rolls back in the end."""

    name: str
    op: Op[Any]
    judge: Judge | None = None
    together: bool = False
    abandon: bool = False
    reads: bool = False

    def did_nothing(self, result: Any) -> bool:
        """Whether it says so itself; an empty list of stale ends says the contrary, who drops leases says nothing."""
        told = result is None and self.name != "drop_leases"
        return told or result == 0 or getattr(result, "lease", True) is None


Script = Generator[Deed | None, Any, None]
"""What an actor does; None lets others go first."""


@dataclass(eq=False)
class World:
    """What the actors share: the stand, the model, the dice, what was planned, the runs that were to be started with
    their jobs, the jobs of which a worker was told that they are paused, and whether chaos is over."""

    stand: Stand
    model: Model
    dice: Random
    plan: Plan
    flows: dict[str, int] = field(default_factory=dict)
    paused: set[int] = field(default_factory=set)
    over: bool = False
