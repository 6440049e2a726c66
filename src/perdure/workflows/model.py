"""What there is to say about runs, as values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

Kind = Literal["step", "transaction", "sleep", "signal", "child", "token", "patch", "cancel", "undo"]
State = Literal["begun", "waiting", "retry", "done", "failed", "cancelled"]
ENDED = frozenset({"done", "failed", "cancelled"})

Conflict = Literal["join", "reject", "replace"]
"""What starting means when a run of that id exists: take that one, refuse, or cancel it and start anew."""

Close = Literal["cancel", "abandon"]
"""What becomes of a child that still runs when its parent ends otherwise than by completing."""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A run to be started: which workflow in which version, with which arguments (JSON object text), in which queue."""

    name: str
    version: int
    payload: str
    queue: str = "default"
    key: str | None = None
    priority: int | None = None
    tags: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """The task its job names. The version is part of it, so that a worker without it leaves the job alone."""
        return task_name(self.name, self.version)


def task_name(name: str, version: int) -> str:
    """What the jobs of a workflow's version are called."""
    return f"{name}/{version}"


class Started(msgspec.Struct, frozen=True):
    """A run that exists now. ``new``: this call has started it; False when there was one of that id already.
    ``differs``: that one was started with other arguments; False also when these aren't kept any more."""

    id: str
    job: int
    new: bool
    differs: bool = False


class Step(msgspec.Struct, array_like=True, gc=False):
    """What a run has recorded of one step. Times are seconds since 1970; ``due_at`` is when a waiting step ends at the
    latest, ``due`` whether that has come. ``detail``: what it waits for. ``outcome``: its result, or its error.
    """

    name: str
    seq: int
    kind: str
    state: str
    attempt: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    due_at: float | None = None
    due: bool = False
    detail: str | None = None
    outcome: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def ended(self) -> bool:
        """Whether nothing about it changes any more."""
        return self.state in ENDED


class Message(msgspec.Struct, array_like=True, gc=False):
    """A signal or an update in a run's inbox that nobody has taken yet."""

    id: int
    name: str
    payload: msgspec.Raw
    update: bool = False
    answered: bool = True


class Child(msgspec.Struct, array_like=True, gc=False):
    """How a child stands: ``outcome`` is completed, cancelled, failed, forgotten (it has ended, and that is all that is
    known of it), or None while it lives."""

    job: int
    outcome: str | None
    result: msgspec.Raw
    error: str | None


class History(msgspec.Struct):
    """A run as it is loaded to be replayed. ``now``: the run's clock at the load, seconds since 1970.

    ``created_at``, ``attributes``: when it began, or its round, and what it said of itself then. ``said``: what it says
    now. ``skew``: by how many seconds that clock is ahead of the server's. ``cancel``: why it is to be cancelled, None
    when it isn't. ``children``: by job id. ``dice``: of a fork, whose it has up to which number.
    """

    job: int
    id: str
    round: int
    now: float
    skew: float
    created_at: float
    attributes: dict[str, Any]
    steps: list[Step]
    messages: list[Message]
    children: dict[int, Child]
    deadline_at: float | None = None
    paused: bool = False
    cancel: str | None = None
    ended: bool = False
    said: dict[str, Any] = {}
    dice: list[tuple[str, int]] = []

    def seed(self, left: Collection[Step]) -> str:
        """Which dice are thrown while these records are left: as long as there is one of what a fork was made from,
        that one's."""
        theirs = (seed for seed, last in self.dice if any(step.seq <= last for step in left))
        return next(theirs, f"{self.job}:{self.round}")


class Entry(msgspec.Struct, gc=False):
    """One thing to record of a run, fenced by (run, generation). ``delay``: seconds until it is due, None for never.

    ``taken``: the message that this step takes out of the inbox.
    """

    run: int
    generation: int
    name: str
    seq: int
    kind: Kind
    state: State
    attempt: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    delay: float | None = None
    due_at: float | None = None
    detail: str | None = None
    outcome: str | None = None
    taken: int | None = None


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An entry that is durable: when it is due (seconds since 1970), and whether the run is asked to look up: it is to
    be cancelled or paused, or somebody waits for an answer."""

    due_at: float | None
    asked: bool


class StepError(msgspec.Struct):
    """What is recorded of a step that failed: the error's class, its text, and whether another attempt was allowed."""

    kind: str
    message: str
    reason: str = ""


class Run(msgspec.Struct, kw_only=True):
    """A run as people and programs see it. ``place`` and ``outcome`` are its job's; ``state`` says both in one word.

    ``waits_for``: what it waits for, by step. ``error``: why it failed or was cancelled.
    """

    id: str
    job: int
    name: str
    version: int
    state: str
    place: str | None
    reason: str | None
    outcome: str | None
    queue: str | None
    round: int
    parent: int | None
    attributes: Mapping[str, Any]
    created_at: datetime
    ended_at: datetime | None
    deadline_at: datetime | None
    paused_at: datetime | None
    wake_at: datetime | None
    waits_for: Sequence[str]
    failed_step: str | None
    error: str | None
    input: Mapping[str, Any]
    result: Any

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it unless somebody acts."""
        return self.place in ("history", "dead") or self.place is None


class Moment(msgspec.Struct, kw_only=True):
    """One line of a run's timeline: what began when, how it ended, and what it waits for."""

    name: str
    kind: str
    state: str
    attempt: int
    started_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None
    detail: str | None
    outcome: Any
