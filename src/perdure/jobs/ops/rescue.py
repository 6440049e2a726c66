"""Rescue: leases whose worker isn't alive, whoever noticed, one lease at a time."""

from __future__ import annotations

from dataclasses import dataclass

from ...core import limits
from ...core.op import Op, one, rows
from ...sql import statement


@dataclass(frozen=True, slots=True)
class Rescue:
    """One lease looked at (None: there is no further one): how many jobs were taken out of it, how many of these were
    buried, and how many may have been running, so that they run alone next."""

    lease: int | None
    worker: int | None
    rescued: int
    buried: int
    suspects: int


_FIELDS = ("lease", "worker", "rescued", "buried", "suspects")
RESCUE = statement("jobs.rescue", lambda row: Rescue(**{each: row[each] for each in _FIELDS}))
CLOSE_LEASE = statement("jobs.close_lease", lambda row: int(row["id"]))


def rescue(after: int = 0) -> Op[Rescue]:
    """Take the jobs of the next lost lease above ``after`` out of it; jobs that a transaction has locked stay in it."""
    return (
        yield from one(
            RESCUE,
            after=after,
            rescues_max=limits.RESCUES_MAX,
            delay_cap=limits.RESCUE_DELAY_SECONDS_MAX,
        )
    )


def close_leases(limit: int = 100) -> Op[list[int]]:
    """Drop lost leases that have none of their jobs left. In a later transaction than the rescue that emptied them."""
    return (yield from rows(CLOSE_LEASE, limit=limit))
