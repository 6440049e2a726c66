"""Many schedules one after another; and of one that failed, how to play it again, with no step too many."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from perdure.core.errors import PerdureError
from tests.sim.bugs import Bug
from tests.sim.schedule import Schedule
from tests.sim.stand import Stand
from tests.sim.truth import Violation
from tests.tidy.source import STATEMENTS

STEPS = 70
NO_BUG = Bug()


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule that ended in a violation: the shortest prefix of its chaos that still does, and its trace."""

    seed: int
    steps: int
    violation: str
    trace: tuple[str, ...]

    @property
    def replay(self) -> str:
        """What to type to see it again; the version says whether it still is the same simulator."""
        return f"python -m tests.sim replay {self.seed} --steps {self.steps}  # simulator {version()}"

    def __str__(self) -> str:
        return "\n".join((*self.trace, self.violation, self.replay))


def version() -> str:
    """Changes with the simulator and with the statements it sends: a seed means something to one version only."""
    texts = (*sorted(Path(__file__).parent.glob("*.py")), *sorted(STATEMENTS.rglob("*.sql")))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in texts)).hexdigest()[:8]


async def play(stand: Stand, seed: int, steps: int = STEPS, bug: Bug = NO_BUG) -> Failure | None:
    """Play one schedule as far as it goes."""
    schedule = Schedule(stand, seed, steps)
    with _planted(bug):
        try:
            await schedule.run(_edits(bug))
        except (AssertionError, PerdureError) as violation:
            return Failure(seed, steps, f"seed {seed}: {violation}", tuple(schedule.trace))
    return None


async def traced(stand: Stand, seed: int, steps: int = STEPS) -> list[str]:
    """The trace of a schedule, whatever became of it."""
    schedule = Schedule(stand, seed, steps)
    try:
        await schedule.run()
    except Violation as violation:
        schedule.trace.append(str(violation))
    return schedule.trace


async def hunt(
    stand: Stand, seeds: Iterable[int], *, seconds: float | None = None, bug: Bug = NO_BUG
) -> tuple[int, Failure | None]:
    """Play schedules until one fails, or time is up: how many were played, and the failure, shortened."""
    began, played = time.monotonic(), 0
    for seed in seeds:
        if seconds is not None and time.monotonic() - began > seconds:
            break
        played += 1
        if (failure := await play(stand, seed, bug=bug)) is not None:
            return played, await shorten(stand, failure, bug)
    return played, None


async def shorten(stand: Stand, failure: Failure, bug: Bug = NO_BUG) -> Failure:
    """The same seed with fewer steps of chaos, as long as it still fails."""
    low, high = 0, failure.steps
    while low < high:
        middle = (low + high) // 2
        shorter = await play(stand, failure.seed, middle, bug)
        if shorter is None:
            low = middle + 1
        else:
            failure, high = shorter, middle
    return failure


def _edits(bug: Bug) -> Mapping[str, tuple[str, str]]:
    return {bug.statement: (bug.text, bug.instead)} if bug.statement else {}


@contextmanager
def _planted(bug: Bug) -> Iterator[None]:
    with ExitStack() as closing:
        for owner, name, instead in bug.code:
            closing.enter_context(patch.object(owner, name, instead))
        yield
