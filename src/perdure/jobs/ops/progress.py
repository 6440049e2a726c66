"""Progress: what handlers say of it, kept apart from the jobs, and which of them have stopped advancing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ...core.op import Op, one, rows
from ...sql import statement
from ..saves import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a job last reported. ``rate``: per second, in this run. ``eta_seconds``: what is left at that rate.

    ``still_seconds``: how long ago it last advanced, by its reports or its checkpoints. Everything is None for a job
    that has said nothing, or whose end has taken its reports along.
    """

    n: float | None
    total: float | None
    message: str | None
    reported_at: datetime | None
    saved_at: datetime | None
    rate: float | None
    still_seconds: float | None

    @property
    def eta_seconds(self) -> float | None:
        """How long the rest takes at the rate of this run; None when that can't be said."""
        if self.n is None or self.total is None or not self.rate or self.rate < 0:
            return None
        return max(self.total - self.n, 0.0) / self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A running job that hasn't advanced for ``still_seconds``, and who runs it."""

    id: int
    task: str
    worker: str
    still_seconds: float


REPORT = statement("jobs.report_progress", lambda row: int(row["job"]))
PROGRESS = statement("jobs.progress", lambda row: Progress(**row))
STUCK = statement("jobs.stuck", lambda row: Stuck(**row))


def report(reports: Sequence[Report]) -> Op[list[int]]:
    """Keep what was last said of each job; the ids of those whose report was taken."""
    last = {each.id: each for each in reports}
    chosen = [last[id] for id in sorted(last)]
    return (
        yield from rows(
            REPORT,
            ids=[each.id for each in chosen],
            generations=[each.generation for each in chosen],
            ns=[each.n for each in chosen],
            totals=[each.total for each in chosen],
            messages=[each.message for each in chosen],
        )
    )


def progress(id: int) -> Op[Progress]:
    """What the job last reported."""
    return (yield from one(PROGRESS, id=id))


def stuck(seconds: float, limit: int) -> Op[list[Stuck]]:
    """Jobs that run and haven't advanced for so long, of those that say anything about it."""
    return (yield from rows(STUCK, seconds=seconds, limit=limit))
