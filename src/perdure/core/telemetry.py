"""What is measured: every metric by name, with its kind, its labels and what it means. Names are stable.

A worker counts what it does as it does it, and times what it does in batches (a claim, a flush, one handler in a few):
nothing is counted or timed for each job beside what ends it. What only the database knows is asked of it when somebody
looks. Seconds are seconds and totals only rise, until the process starts again.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Source = Literal["worker", "system"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``source``: a worker process by itself, or the system as its database knows it."""

    name: str
    kind: Kind
    source: Source
    means: str
    labels: tuple[str, ...] = ()


class Histogram:
    """How often something took how long: counts by upper bound, in seconds."""

    BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one span."""
        self.counts[bisect_left(self.BOUNDS, seconds)] += 1
        self.sum += seconds

    def quantile(self, share: float) -> float:
        """The bound under which that share of the spans stays; nought when there were none."""
        wanted, seen = share * sum(self.counts), 0
        for bound, count in zip((*self.BOUNDS, float("inf")), self.counts, strict=True):
            seen += count
            if seen >= wanted:
                return bound if sum(self.counts) else 0.0
        return float("inf")


@dataclass(frozen=True, slots=True)
class Sample:
    """A metric's value now, for one value of each of its labels."""

    name: str
    value: float | Histogram
    labels: tuple[str, ...] = ()


def _metrics(source: Source, *rows: tuple[str, ...]) -> tuple[Metric, ...]:
    """Of rows of a name, what it means, and its labels: what ends in ``_total`` only rises."""
    return tuple(Metric(name, _kind(name), source, means, tuple(labels)) for name, means, *labels in rows)


def _kind(name: str) -> Kind:
    if name in ("perdure_claim_seconds", "perdure_flush_seconds", "perdure_run_seconds"):
        return "histogram"
    return "counter" if name.endswith("_total") else "gauge"


_OF_A_WORKER = _metrics(
    "worker",
    ("perdure_settled_total", "ends recorded, by verdict: completed, retry, dead, …", "verdict"),
    ("perdure_stale_total", "ends refused, because the job was somebody else's by then"),
    ("perdure_claimed_total", "jobs claimed"),
    ("perdure_claims_total", "claims sent"),
    ("perdure_empty_claims_total", "claims that found nothing"),
    ("perdure_looks_total", "polls: looks at what there is to do"),
    ("perdure_wakeups_total", "notifications that woke the worker, or hurried it"),
    ("perdure_claim_seconds", "how long a claim takes, there and back"),
    ("perdure_flush_seconds", "how long it takes to record a batch of ends"),
    ("perdure_run_seconds", "how long handlers run: a sample, a few of each batch of ends"),
    ("perdure_unsettled", "ends that wait to be recorded"),
    ("perdure_slots", "jobs of a queue that may run at once here", "queue"),
    ("perdure_busy", "jobs of a queue that run here now", "queue"),
    (
        "perdure_lost_slots",
        "slots of a queue, among the busy, whose handlers go on after their jobs have ended",
        "queue",
    ),
    ("perdure_prefetched", "jobs of a queue that are claimed and wait for a slot", "queue"),
    ("perdure_saturated_seconds_total", "how long every slot of a queue was busy", "queue"),
    ("perdure_suspects", "suspects: children there may be, running, waiting", "state"),
    ("perdure_beats_failed_total", "heartbeats that failed"),
    ("perdure_trusted_seconds", "how much longer the worker may start jobs without another beat"),
    ("perdure_chore_done_total", "housekeeping done: jobs promoted, rescued, let in from a line, rows, days", "chore"),
    ("perdure_chore_failures_total", "housekeeping that failed", "chore"),
    ("perdure_chore_contended_total", "housekeeping that a lock of others held up", "chore"),
    ("perdure_database_errors_total", "errors of the database, by SQLSTATE: 55P03, 40P01, …", "sqlstate"),
)

_OF_THE_SYSTEM = _metrics(
    "system",
    ("perdure_up", "whether the database answered: 1 or 0"),
    ("perdure_jobs", "jobs by queue and place: ready, scheduled, leased, held, waiting, dead", "queue", "place"),
    ("perdure_oldest_ready_seconds", "age of a queue's oldest job that could run", "queue"),
    ("perdure_queue_state", "1 for the state a queue is in: open, in_debt, full, stalled, paused", "queue", "state"),
    ("perdure_queue_arrived_per_second", "jobs of a queue that become ready, over the last minute", "queue"),
    ("perdure_queue_ended_per_second", "attempts of a queue that end, over the last seconds", "queue"),
    ("perdure_queue_drain_seconds", "how long what is ready would take if nothing more came; +Inf: for ever", "queue"),
    ("perdure_unattended_queues", "queues with ready jobs, not paused, that no living worker serves"),
    ("perdure_workers", "workers by state: alive, draining, silent", "state"),
    ("perdure_lost_jobs", "jobs held by workers that are silent, dead or forgotten"),
    ("perdure_crashes", "unclean ends of workers within ten minutes, not excused"),
    ("perdure_safe_mode", "whether a crash loop pauses the housekeeping of a period: 1 or 0"),
    ("perdure_chore_failures_in_row", "failures of a chore since it was last done", "chore"),
    ("perdure_chore_parked", "whether a chore is parked: 1 or 0", "chore"),
    ("perdure_chore_done_seconds_ago", "how long ago a chore was last done", "chore"),
    ("perdure_chore_late_periods", "the same in periods of that chore", "chore"),
    ("perdure_history_days_ahead", "days after today that have their partitions", "table"),
    ("perdure_arrivals_total", "arrivals in ready or scheduled since the beginning, repeated ones included"),
    ("perdure_horizon_seconds", "age of the oldest transaction that holds back vacuum"),
    ("perdure_deadlocks_total", "deadlocks that Postgres has ended in this database"),
)

METRICS: tuple[Metric, ...] = _OF_A_WORKER + _OF_THE_SYSTEM
"""The catalogue."""

NAMED = {metric.name: metric for metric in METRICS}
