"""A worker as others know it, and what its heartbeat brings back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from ..core import limits
from ..core.errors import InvalidInput

R = TypeVar("R")


class UnknownWorker(InvalidInput):
    """There is no worker with that id, nor was there one lately."""

    code = "unknown_worker"


@dataclass(frozen=True, slots=True)
class Beat:
    """What a good beat says: the row's state and incarnation, which of the jobs that this worker holds are to be
    cancelled and which paused, how many workers live, whose beat has run out, and which of the leases in its hands
    aren't its any more."""

    state: Literal["alive", "draining"]
    incarnation: int
    cancels: tuple[int, ...]
    pauses: tuple[int, ...]
    living: int
    expired: tuple[int, ...]
    taken: tuple[int, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """What is remembered of a chore. ``period_seconds``: between two runs by whoever; None for what is done when a look
    finds something. ``batch``: how much one run does, when memory was short. ``running_on``: the worker that does it.
    """

    name: str
    consecutive_failures: int
    last_error: str | None
    last_started_at: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    period_seconds: float | None
    due_at: datetime | None
    parked_until: datetime | None
    batch: int | None
    running_on: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a worker is told when it takes a chore. ``mine``: no other transaction does it now. ``runs``: the worker
    ``running_on``, which has begun and not ended it, is alive; ``left_cleanly``: it was stopped. ``crashes``: unclean
    ends of workers lately."""

    mine: bool
    failures: int
    batch: int | None
    running_on: int | None
    runs: bool
    left_cleanly: bool
    due_in: float
    succeeded_ago: float | None
    crashes: int


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """One go at a chore: its result, None when it wasn't ours to do; whether there is more of it; when to try again."""

    result: R | None
    more: bool = False
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether to do a chore now; if not, to ask again in ``wait`` seconds.

    ``crashed``: somebody began it, and is gone. ``paused``: a crash loop keeps it waiting.
    """

    now: bool
    wait: float = 0.0
    crashed: bool = False
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Setback:
    """A failure as it was noted: how many in a row, when the chore may be tried again, whether it is parked."""

    failures: int
    due_in: float
    parked: bool


@dataclass(frozen=True, slots=True)
class Crashes:
    """Unclean ends of workers within CRASH_WINDOW_SECONDS that nobody has excused, the last five with their causes."""

    count: int
    last_at: datetime | None
    named: list[str]

    @property
    def safe_mode(self) -> bool:
        """Whether they are a crash loop: what jobs don't wait for is paused until they are excused, or long past."""
        return self.count >= limits.CRASHES_MAX


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
