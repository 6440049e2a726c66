"""A worker as others know it, and what its heartbeat brings back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Beat:
    """What a good beat says: the row's state and incarnation, cancel requests for jobs this worker holds, how many
    workers live, and whose beat has run out."""

    state: Literal["alive", "draining"]
    incarnation: int
    cancels: tuple[int, ...]
    living: int
    expired: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker's row. ``expires_in``: seconds until others may declare it dead."""

    id: int
    name: str
    state: str
    incarnation: int
    host: str
    pid: int
    slots: int
    queues: list[str]
    started_at: datetime
    ended_at: datetime | None
    gauges: dict[str, Any] | None
    expires_in: float
    leases: int


WORKER_CONNECTIONS = 5
"""What a worker keeps open for itself: claims, settlements, chores, the listener, the heart."""


@dataclass(frozen=True, slots=True)
class Connections:
    """How many sessions the server allows, how many workers live, and how many jobs they may run at once in all."""

    allowed: int
    workers: int
    slots: int

    @property
    def own(self) -> int:
        """What the workers keep open for themselves."""
        return self.workers * WORKER_CONNECTIONS
