"""Wake: out of ``waiting``, because what a job waited for has happened, or its moment has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core import limits
from ...core.op import Op, one, rows
from ...sql import statement
from ..floors import Holders, Range


@dataclass(frozen=True, slots=True)
class Woken:
    """Which jobs were woken; and which wait and were locked by somebody, who may wake them or may roll back."""

    ids: tuple[int, ...]
    locked: tuple[int, ...]


WAKE = statement("jobs.wake", lambda row: Woken(tuple(row["ids"] or ()), tuple(row["locked"] or ())))
ROUSE = statement("jobs.rouse", lambda row: int(row["taken"]))
ALARM_WRITERS = statement("jobs.alarm_writers", lambda row: str(row["holder"]))
ALARM_PROBE = statement("jobs.alarm_probe", lambda row: (int(row["range"]) - 1, int(row["pos"])))


def wake(ids: Sequence[int]) -> Op[Woken]:
    """Move those of the jobs that wait to ready."""
    return (yield from one(WAKE, ids=sorted(ids)))


def rouse(limit: int = limits.CHORE_BATCH_MAX, *, floor: int = 0) -> Op[int]:
    """Move jobs from waiting to ready whose moment has come. Fewer than the limit means none is left due.

    ``floor``: where the moments begin (microseconds since 1970).
    """
    return (yield from one(ROUSE, limit=limit, floor=floor))


def alarm_writers() -> Op[Holders]:
    """The transactions that may still write to, or have woken from, ``waiting``."""
    return frozenset((yield from rows(ALARM_WRITERS)))


def alarm_probe(ranges: Sequence[Range]) -> Op[dict[int, int]]:
    """The first visible moment in each range that has one, by the range's number."""
    found = yield from rows(ALARM_PROBE, lows=[r.low for r in ranges], highs=[r.high for r in ranges])
    return dict(found)
