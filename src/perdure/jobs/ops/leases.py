"""What a worker holds, as the database knows it: asked after a broken connection."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.op import Op, rows
from ...sql import statement


@dataclass(frozen=True, slots=True)
class Held:
    """One lease, and the (id, generation) pairs that still are in it."""

    lease: int
    jobs: tuple[tuple[int, int], ...]


LEASES = statement(
    "jobs.leases",
    lambda row: Held(row["lease"], tuple(zip(row["ids"] or (), row["generations"] or (), strict=True))),
)


def leases(worker: int) -> Op[list[Held]]:
    """The worker's leases. After ``fleet.reincarnate``, in a later statement, it is all there is."""
    return (yield from rows(LEASES, worker=worker))
