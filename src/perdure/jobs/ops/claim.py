"""Claim, and the questions that surround it: what is there, what shows up below a floor, who writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...core.op import Op, Row, maybe, one, rows
from ...sql import statement
from .. import rules
from ..floors import Floor, Holders, Range, highest
from ..work import Claimed


@dataclass(frozen=True, slots=True)
class Batch:
    """A claim that took something: the jobs in order, and the last position of each lane."""

    lease: int
    jobs: list[Claimed]
    highest: Mapping[int, int]
    payload_bytes: int
    plain: bool
    """Whether no job has anything that only few have."""

    def suspects(self) -> list[Claimed]:
        """Its jobs that may have been running when their worker was lost, taken out: they run alone."""
        apart = [] if self.plain else [job for job in self.jobs if job.extras is not None and job.extras.rescues]
        if apart:
            self.jobs[:] = [job for job in self.jobs if job.extras is None or not job.extras.rescues]
        return apart


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to do: queues with something above a floor, seconds to the next due job, and chores.

    ``due_at`` and ``clock``: that job's moment and the server's (microseconds since 1970). ``wake_in`` and ``wake_at``:
    the same of the next waiting job that has a moment. ``lapses_in``: seconds until the next living worker's beat runs
    out, unless it beats before.
    """

    queues: frozenset[int]
    due_in: float | None
    due_at: int | None
    clock: int
    wake_in: float | None
    wake_at: int | None
    lost: bool
    expired: tuple[int, ...]
    lapses_in: float | None
    requests: bool
    nudged: bool
    parked: bool


def _batch(row: Row) -> Batch:
    passed = highest(row["lanes"], row["positions"])
    return Batch(row["lease"], rules.in_hand(row), passed, len(row["payloads"]), row["extras"] is None)


def _look(row: Row) -> Look:
    return Look(
        frozenset(row["queues"]),
        row["due_in"],
        row["due_at"],
        row["clock"],
        row["wake_in"],
        row["wake_at"],
        row["lost"],
        tuple(row["expired"]),
        row["lapses_in"],
        row["requests"],
        row["nudged"],
        row["parked"],
    )


CLAIM = statement("jobs.claim", _batch)
LOOK = statement("jobs.look", _look)
PROBE = statement("jobs.probe", lambda row: (int(row["range"]) - 1, int(row["pos"])))
WRITERS = statement("jobs.writers", lambda row: str(row["holder"]))


def claim(
    worker: int, incarnation: int, queue: int, floor: Floor, limit: int, *, now: float | None = None
) -> Op[Batch | None]:
    """Take up to ``limit`` jobs of one queue. One statement, one transaction: drive it on an autocommit connection.

    ``now`` (monotonic seconds) lets the floor choose where to begin; without it the claim begins at the floor.
    """
    starts = floor.starts(now)
    return (
        yield from maybe(
            CLAIM,
            worker=worker,
            incarnation=incarnation,
            queue=queue,
            lanes=list(floor.lanes),
            floors=starts,
            limit=limit,
        )
    )


def look(floors: Sequence[Floor], tasks: Sequence[str] = (), due_floor: int = 0, alarm_floor: int = 0) -> Op[Look]:
    """One cheap question that covers everything an idle worker must notice.

    ``tasks``: the names it can run. ``due_floor``, ``alarm_floor``: where what is scheduled, and what waits
    until a moment, begins (microseconds since 1970).
    """
    lanes = [lane for floor in floors for lane in floor.lanes]
    starts = [floor.start(lane) for floor in floors for lane in floor.lanes]
    begins = {"due_floor": due_floor, "alarm_floor": alarm_floor}
    return (yield from one(LOOK, lanes=lanes, floors=starts, tasks=list(tasks), **begins))


def probe(ranges: Sequence[Range]) -> Op[dict[int, int]]:
    """The lowest visible position in each range that has one, by the range's number."""
    found = yield from rows(
        PROBE, lanes=[r.lane for r in ranges], lows=[r.low for r in ranges], highs=[r.high for r in ranges]
    )
    return dict(found)


def writers() -> Op[Holders]:
    """The transactions that may still write to, or have claimed from, ``ready``."""
    return frozenset((yield from rows(WRITERS)))
