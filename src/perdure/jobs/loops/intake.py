"""What one queue can take: how many jobs to claim now, given its free slots and the pace at which they end."""

from __future__ import annotations

from math import exp

from ...core import limits
from ...runtime.clock import monotonic, utc_now
from ..floors import Floor
from .runner import Runner

PAYLOAD_BYTES_AHEAD = 16 * 1024 * 1024
"""What is claimed beyond the free slots holds at most about this many bytes of payload."""

PACE_SECONDS = 5.0
"""Over how long the pace is averaged that others are told."""


class Intake:
    """One queue as its worker sees it. ``wet``: a claim may find something; ``dry`` after one that came back short.
    ``id``: 0 while it has no row."""

    __slots__ = (
        "_bytes_per_job", "_ended", "_measured", "_pace", "_pace_at", "_pace_ended", "_rate",
        "floor", "id", "name", "runner", "wet",
    )  # fmt: skip

    def __init__(self, id: int, name: str, runner: Runner) -> None:
        self.name, self.runner = name, runner
        self.opened(id)
        self._rate, self._ended, self._measured, self._bytes_per_job = 0.0, 0, monotonic(), 200.0
        self._pace, self._pace_at, self._pace_ended = 0.0, monotonic(), 0

    def opened(self, id: int) -> None:
        """The queue has this number, and a claim may find something in it."""
        self.id, self.wet = id, True
        self.floor = Floor(tuple(id * 4096 + priority for priority in range(10)))

    def ahead(self) -> int:
        """Jobs to have waiting beyond the free slots: at most what will run in CLAIM_AHEAD_SECONDS, and fits memory."""
        self._measure()
        return min(
            int(self._rate * limits.CLAIM_AHEAD_SECONDS),
            int(PAYLOAD_BYTES_AHEAD / self._bytes_per_job),
            limits.CLAIM_BATCH_MAX,
        )

    def demand(self) -> int:
        """How many jobs to claim now; nought while a batch is still waiting, or the queue isn't there."""
        if not self.id:
            return 0
        ahead = self.ahead()
        waiting = len(self.runner.backlog)
        self.runner.low = ahead
        if waiting > ahead:
            return 0
        return min(self.runner.free + ahead, limits.CLAIM_BATCH_MAX)

    def ended_per_second(self) -> float:
        """Attempts that end in a second, whichever way, over the last few; asked with every beat."""
        now, ended = monotonic(), self.runner.ended
        span = now - self._pace_at
        if span > 0.1:
            self._pace += (1 - exp(-span / PACE_SECONDS)) * ((ended - self._pace_ended) / span - self._pace)
            self._pace_at, self._pace_ended = now, ended
        return self._pace

    def took(self, jobs: int, payload_bytes: int) -> None:
        """Note a claim's size. A rise counts at once, for the next claim's sake; a fall little by little."""
        size = payload_bytes / jobs
        self._bytes_per_job += (1.0 if size > self._bytes_per_job else 0.2) * (size - self._bytes_per_job)

    def gauges(self) -> dict[str, float]:
        """Slots busy, lost and free, jobs claimed ahead and how long the first of them has waited since its enqueue,
        how long all slots have been busy since the start, the longest run of now, attempts that end in a second."""
        runner = self.runner
        return {
            "slots": len(runner.slots),
            "busy": runner.running,
            "lost": runner.lost,
            "free": len(runner.slots) - runner.running,
            "prefetched": len(runner.backlog),
            "wait_seconds": round(waited(runner), 3),
            "saturated_seconds": round(runner.saturated_seconds, 3),
            "longest_run_seconds": round(longest_run(runner), 3),
            "ended_per_second": round(self.ended_per_second(), 3),
        }

    def _measure(self) -> None:
        now, ended = monotonic(), self.runner.ended
        span = now - self._measured
        if span >= 0.02:
            pace = (ended - self._ended) / span
            weight = min(span / 0.2, 1.0) if pace < self._rate else 0.7
            self._rate += weight * (pace - self._rate)
            self._measured, self._ended = now, ended


def waited(runner: Runner) -> float:
    """Seconds since the enqueue of the job that would start next; 0 when none waits here."""
    try:
        return max((utc_now() - runner.backlog[0].created_at).total_seconds(), 0.0)
    except IndexError:
        return 0.0


def longest_run(runner: Runner) -> float:
    """Seconds for which the job has run that has run longest; 0 when none runs."""
    started = [job.started for slot in runner.slots if (job := slot.job) is not None]
    return max(monotonic() - min(started), 0.0) if started else 0.0
