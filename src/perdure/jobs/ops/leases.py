"""What a worker holds, as the database knows it: asked after a broken connection, and taken from it by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from ...core.op import Op, Row, rows
from ...sql import statement
from ..work import Claimed, End, Lease
from .settle import settle

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Held:
    """One lease, and the (id, generation) pairs that still are in it. ``once``: those that must not run twice."""

    lease: int
    jobs: tuple[tuple[int, int], ...]
    once: frozenset[int] = frozenset()


def _held(row: Row) -> Held:
    pairs = zip(row["ids"] or (), row["generations"] or (), strict=True)
    return Held(row["lease"], tuple(pairs), frozenset(row["once"] or ()))


LEASES = statement("jobs.leases", _held)


def leases(worker: int) -> Op[list[Held]]:
    """The worker's leases. After ``fleet.reincarnate``, in a later statement, it is all there is."""
    return (yield from rows(LEASES, worker=worker))


def release(worker: int, reason: str) -> Op[int]:
    """Take out of a worker's hands whatever it holds, back to ready, uncharged, with the reason in the attempt log; how
    many jobs. Those that must not run twice may have begun: they go to the dead, to be reviewed. What the worker still
    does with any of them is refused as stale. Drive it in one transaction.

    Never needed for recovery: a worker that is lost is rescued from by itself.
    """
    held = yield from leases(worker)
    ends = []
    for each in held:
        lease = Lease(each.lease, len(each.jobs))
        for id, generation in each.jobs:
            job = Claimed(id, generation, lease, 1, "", msgspec.Raw(b"{}"), _NEVER)
            if id in each.once:
                ends.append(End(job, "dead", 0, text=f"taken from its worker: {reason}", reason="needs_review"))
            else:
                ends.append(End(job, "returned", 0, reason=reason))
    stale = (yield from settle(ends, worker, [each.lease for each in held])) if ends else []
    return len(ends) - len(stale)
