"""What a worker has counted, as samples of the catalogue. It only reads, from whatever thread asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.telemetry import Sample
from ..fleet.loops.heart import Heart
from ..jobs.loops.chores import Chores
from ..jobs.loops.claimer import Claimer
from ..jobs.loops.intake import Intake
from ..jobs.loops.isolator import Isolator
from ..jobs.loops.sampler import Sampler
from ..jobs.loops.settler import Settler
from ..pg.errors import SEEN
from ..runtime.clock import monotonic


@dataclass(frozen=True, slots=True)
class Meter:
    """The parts of a worker that count."""

    intakes: Sequence[Intake]
    isolator: Isolator
    claimer: Claimer
    settler: Settler
    heart: Heart
    chores: Chores
    sampler: Sampler

    def gauges(self) -> dict[str, Any]:
        """Of each queue, and of the suspects: see Intake and Isolator; then what was settled by verdict, and what waits
        to be. The beat keeps it with the worker's row."""
        return {
            "queues": {intake.name: intake.gauges() for intake in self.intakes},
            "suspects": self.isolator.gauges(),
            "settled": dict(self.settler.counts),
            "unsettled": self.settler.waiting,
            "claims": self.claimer.claims,
            "claimed": self.claimer.claimed,
            "chores": dict(self.chores.counts) | {"advanced": self.sampler.advanced},
        }

    def samples(self) -> list[Sample]:
        """Everything the worker has counted."""
        claimer, settler, heart, chores = self.claimer, self.settler, self.heart, self.chores
        settled = {verdict: count for verdict, count in dict(settler.counts).items() if verdict != "stale"}
        counted = [
            *_each("perdure_settled_total", settled),
            Sample("perdure_stale_total", settler.counts["stale"]),
            Sample("perdure_unsettled", settler.waiting),
            Sample("perdure_claimed_total", claimer.claimed),
            Sample("perdure_claims_total", claimer.claims),
            Sample("perdure_empty_claims_total", claimer.empty),
            Sample("perdure_looks_total", claimer.looks),
            Sample("perdure_wakeups_total", claimer.wakeups),
            Sample("perdure_claim_seconds", claimer.claim_seconds),
            Sample("perdure_flush_seconds", settler.flush_seconds),
            Sample("perdure_run_seconds", settler.run_seconds),
            Sample("perdure_beats_failed_total", heart.failed),
            Sample("perdure_trusted_seconds", max(heart.trusted_until - monotonic(), 0.0)),
            *_each("perdure_suspects", self.isolator.gauges()),
            *_each("perdure_chore_done_total", {name: chores.counts[name] for name in chores.names}),
            Sample("perdure_chore_done_total", self.sampler.advanced, ("advance",)),
            *_each("perdure_chore_failures_total", {name: chores.failures[name] for name in chores.names}),
            *_each("perdure_chore_contended_total", {name: chores.contended[name] for name in chores.names}),
            *_each("perdure_database_errors_total", dict(SEEN)),
        ]
        for intake in self.intakes:
            gauges = intake.gauges()
            counted += [Sample(name, gauges[key], (intake.name,)) for name, key in _OF_QUEUES.items()]
        return counted


_OF_QUEUES = {
    "perdure_slots": "slots",
    "perdure_busy": "busy",
    "perdure_lost_slots": "lost",
    "perdure_prefetched": "prefetched",
    "perdure_saturated_seconds_total": "saturated_seconds",
}


def _each(name: str, values: Mapping[str, float]) -> Iterator[Sample]:
    return (Sample(name, value, (label,)) for label, value in values.items())
