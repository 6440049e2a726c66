"""How an activation of a run ends: what its job's end says, and what the run's row is to say."""

from __future__ import annotations

from datetime import UTC, datetime

from ..jobs.work import End


class RunEnd(End, gc=False, eq=False):
    """The end of a job that was a run. ``failed_step``: what made it give up, so that it can be retried. ``anew``:
    the arguments with which it begins anew."""

    failed_step: str | None = None
    anew: str | None = None


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as a moment."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
