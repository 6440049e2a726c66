"""What a worker's claim floor may be, by what stands in ``ready``."""

from __future__ import annotations

from tests.sim.crew import Worker
from tests.sim.truth import Truth, Violation


def check_passed(worker: Worker, truth: Truth) -> None:
    """What is ready although the floor has passed it lies in a step that still has guards, and so will be looked at
    again. True after each commit, also in the midst of everything; a step too far shows as soon as its straggler does.
    """
    floor = worker.floor
    for lane, positions in truth.ready.items():
        for pos in positions:
            if pos <= floor.floor[lane] and not any(
                step.guards and step.low[lane] < pos <= step.high[lane] for step in floor.steps
            ):
                raise Violation(f"worker {worker.id} has passed {pos} in lane {lane} for good, and it is ready")


def check_start(worker: Worker, truth: Truth) -> None:
    """Nobody else is about, and the worker has just looked for stragglers: its claims begin before all that is ready.
    The other workers' floors would hide one that is too high, by claiming what it has passed."""
    for lane, positions in truth.ready.items():
        if (start := worker.floor.start(lane)) >= min(positions):
            raise Violation(f"worker {worker.id} claims lane {lane} after {start}, and {min(positions)} is ready")
