"""Waiting for a chain, without the waiting: which job is next, and how long to pause while it isn't there yet."""

from __future__ import annotations

from ...core.errors import JobFailed, WaitTimeout
from ...core.op import Op
from ...jobs.ops import follow
from .verbs import patience

PAUSE_SECONDS = 0.5
"""A follow-up that isn't enqueued by the end of the job before it waits for a sweep."""


def after(id: int) -> Op[list[int] | None]:
    """The jobs that this completed one is followed by; None while some are still to be enqueued. Raises JobFailed when
    one can't be."""
    found = yield from follow.followers(id)
    if found.problem is not None:
        raise JobFailed(
            f"is not followed: {found.problem}", job_id=id, reason="not_followed", field=f"job {id}", fix="enqueue it"
        )
    return None if found.pending else found.ids


class Chain:
    """Which jobs of a chain are still to be waited for. ``now`` and ``deadline`` are readings of the caller's clock."""

    def __init__(self, id: int, timeout: float | None, now: float) -> None:
        self._todo = [id]
        seconds = patience(timeout)
        self._deadline = None if seconds is None else now + seconds

    @property
    def next(self) -> int | None:
        """The next one; None when there is none left."""
        return self._todo[0] if self._todo else None

    def left(self, now: float) -> float | None:
        """Seconds that are left for it; None for ever."""
        return None if self._deadline is None else max(self._deadline - now, 0.0)

    def followed(self, after: list[int] | None, now: float) -> float | None:
        """The next one has completed, and is followed by these; None when that is known, seconds to pause when not yet.

        Raises WaitTimeout.
        """
        if after is not None:
            self._todo = self._todo[1:] + after
            return None
        left = self.left(now)
        if left is not None and left <= 0:
            id = self._todo[0]
            raise WaitTimeout(
                "has completed, and its follow-ups aren't enqueued yet",
                job_id=id,
                field=f"job {id}",
                fix="wait longer, or see whether their queue is full",
            )
        return PAUSE_SECONDS if left is None else min(PAUSE_SECONDS, left)
