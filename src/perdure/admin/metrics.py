"""What the database knows of a system, as samples of the catalogue: asked when somebody looks, and not oftener."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from math import inf
from typing import get_args

from ..core.errors import PerdureError
from ..core.op import Op, one, rows
from ..core.telemetry import Sample
from ..fleet.ops.workers import crashes, list_workers
from ..jobs.bounds import Queue, State
from ..jobs.ops.queues import list_queues
from ..pg.connect import connect
from ..pg.drive import drive
from ..runtime.clock import monotonic
from ..sql import report
from .doctor.background import UNITS
from .doctor.history import DAYS
from .doctor.horizon import HOLDERS
from .doctor.queues import ATTENDED

COUNTERS = report("server.counters", dict)

KEPT_SECONDS = 5.0
"""An answer is given again for so long: several may look at once, and counting a large queue takes a moment."""

PLACES = ("ready", "scheduled", "leased", "held", "waiting", "dead")


def system() -> Op[list[Sample]]:
    """Everything that is asked of the database."""
    counters = yield from one(COUNTERS)
    found = [
        Sample("perdure_up", 1),
        Sample("perdure_arrivals_total", counters["arrivals"]),
        Sample("perdure_deadlocks_total", counters["deadlocks"]),
        Sample("perdure_lost_jobs", counters["lost_jobs"]),
    ]
    for queue in (yield from list_queues()):
        found += [Sample("perdure_jobs", getattr(queue, place), (queue.name, place)) for place in PLACES]
        found += _moves(queue)
    alone = [each for each in (yield from rows(ATTENDED)) if not each.workers and not each.paused]
    found.append(Sample("perdure_unattended_queues", len(alone)))
    found += yield from _workers()
    for unit in (yield from rows(UNITS)):
        found += _chore(unit)
    found += [
        Sample("perdure_history_days_ahead", day["days_ahead"], (day["parent"],)) for day in (yield from rows(DAYS))
    ]
    ages = [each["seconds"] or 0.0 for each in (yield from rows(HOLDERS))]
    found.append(Sample("perdure_horizon_seconds", max(ages, default=0.0)))
    return found


def _moves(queue: Queue) -> list[Sample]:
    """Whether it keeps up. Where nobody has measured what arrives, as in an idle queue, nothing does."""
    label, drain = (queue.name,), queue.drain_seconds
    return [
        Sample("perdure_oldest_ready_seconds", queue.oldest_seconds or 0.0, label),
        *(Sample("perdure_queue_state", int(queue.state == state), (queue.name, state)) for state in get_args(State)),
        Sample("perdure_queue_arrived_per_second", queue.arrived_per_second or 0.0, label),
        Sample("perdure_queue_ended_per_second", queue.ended_per_second, label),
        Sample("perdure_queue_drain_seconds", inf if drain is None else drain, label),
    ]


def _workers() -> Op[list[Sample]]:
    living = [each for each in (yield from list_workers(10_000)) if each.state in ("alive", "draining")]
    states = Counter({"alive": 0, "draining": 0, "silent": 0})
    states.update("silent" if each.expires_in < 0 else each.state for each in living)
    crashed = yield from crashes()
    return [
        *(Sample("perdure_workers", count, (state,)) for state, count in states.items()),
        Sample("perdure_crashes", crashed.count),
        Sample("perdure_safe_mode", int(crashed.safe_mode)),
    ]


def _chore(unit: dict[str, object]) -> Iterator[Sample]:
    label = (str(unit["name"]),)
    yield Sample("perdure_chore_failures_in_row", float(str(unit["consecutive_failures"])), label)
    yield Sample("perdure_chore_parked", int(unit["parked_until"] is not None), label)
    for name, key in (
        ("perdure_chore_late_periods", "late_periods"),
        ("perdure_chore_done_seconds_ago", "done_seconds_ago"),
    ):
        if unit[key] is not None:
            yield Sample(name, float(str(unit[key])), label)


class System:
    """Asks the database, for whoever looks, on a connection that is closed again. A database that doesn't answer is a
    sample, too: whether this process lives doesn't depend on it."""

    def __init__(self, url: str, schema: str) -> None:
        self._url, self._schema = url, schema
        self._turn = threading.Lock()
        self._asked, self._found = 0.0, list[Sample]()

    def __call__(self) -> list[Sample]:
        """The samples, at most KEPT_SECONDS old."""
        with self._turn:
            if not self._found or monotonic() - self._asked > KEPT_SECONDS:
                self._found = self._ask()
                self._asked = monotonic()
            return self._found

    def _ask(self) -> list[Sample]:
        try:
            with connect(self._url, "maintenance") as conn:
                return drive(conn, system(), self._schema)
        except PerdureError:
            return [Sample("perdure_up", 0)]
