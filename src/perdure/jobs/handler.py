"""What the claim loop knows of a task: how to call it, and what it declares. The registry makes these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, Self, TypeAlias, get_args
from uuid import UUID, uuid5

import msgspec

from ..core import codec
from ..core.backoff import Retry
from ..core.context import Envelope
from ..core.errors import Unsupported
from ..core.op import Op
from .saves import StateUpgrade
from .work import Claimed, End, StepCall

Upgrade: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the arguments of one version, as plain JSON values by name, into those of the next."""


@dataclass(frozen=True, slots=True)
class Handler:
    """One task's code. ``decode`` gives the arguments by name; ``encode`` the result as JSON text.

    ``context`` names the parameter that wants a Context. ``address`` is "module:qualified.name", by which a child
    process finds the task again. ``timeout``: seconds one attempt may run. ``version``: of the arguments;
    ``upgrades``: what makes arguments of a version into those of the next one, by the version they come from;
    ``checkpoint_version``, ``checkpoint_upgrades``: the same of the state that it saves.
    ``asks``: it asks its context whether its job is cancelled, and isn't stopped for that.
    ``host``: drives it in a child in which it runs alone, where that is more than a call; ``crashed`` follows in the
    transaction that settles jobs whose child died.
    """

    name: str
    function: Callable[..., Any]
    run_in: Literal["loop", "thread", "process"]
    retry: Retry
    timeout: float | None
    at_most_once: bool
    decode: Callable[[msgspec.Raw], dict[str, Any]]
    encode: Callable[[object], str]
    context: str | None
    address: str
    version: int = 1
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict)
    checkpoint_version: int = 1
    checkpoint_upgrades: Mapping[int, StateUpgrade] = field(default_factory=dict)
    asks: bool = False
    host: Callable[..., Awaitable[Any]] | None = None
    crashed: Callable[[Sequence[End]], Op[object]] | None = None
    plain: bool = field(init=False)
    """Whether it is called on the loop with its arguments, and that is all there is to it."""

    def __post_init__(self) -> None:
        bare = self.context is None and self.timeout is None and not self.upgrades
        object.__setattr__(self, "plain", self.run_in == "loop" and bare)

    def arguments(self, job: Claimed) -> dict[str, Any]:
        """The job's arguments by name, in the code's version. Raises what ``decode`` or an upgrade raises."""
        return self.decode(upgraded(job, self.version, self.upgrades) if self.upgrades else job.payload)


def upgraded(job: Claimed, version: int, upgrades: Mapping[int, Upgrade]) -> msgspec.Raw:
    """The job's arguments brought to a version, one step after the other; a step without an upgrade changes nothing."""
    steps = [upgrades[step] for step in range(job.version, version) if step in upgrades]
    if not steps:
        return job.payload
    words: dict[str, Any] = msgspec.json.decode(job.payload)
    for step in steps:
        words = step(words)
    return msgspec.Raw(codec.encode(words).encode())


_KEYS = UUID("8f0c9a52-4f0e-4e0e-9d37-3b1f6a1f7c11")


class Fence(NamedTuple):
    """What a job's writes to outside systems carry. A later holder of the job has a higher ``generation``."""

    lease: int
    generation: int


class Running(NamedTuple):
    """The job a handler is running."""

    id: int
    task: str
    key: str | None
    tags: tuple[str, ...]
    created_at: datetime


class Stopped(Exception):
    """Raised in a handler that was told to stop. It says nothing of its own: the job ends as it was told to."""


STEP: ContextVar[StepCall | None] = ContextVar("perdure_step", default=None)
"""The step that is being called here, when a run calls one that is given a context."""

CONTEXT_MARK = "__perdure_context__"
"""The attribute by which a class says that parameters annotated with it are filled in by the worker."""


def is_context(annotation: object) -> bool:
    """Whether a parameter with this annotation is given the job's context: ``Context`` or ``Context | None``."""
    if isinstance(annotation, str):  # imported for type checkers only
        return annotation.removesuffix(" | None") in ("Context", "perdure.Context")
    return any(hasattr(each, CONTEXT_MARK) for each in (annotation, *get_args(annotation)))


class Context:
    """What a handler may know of the job it runs; injected for a parameter annotated ``perdure.Context``."""

    __slots__ = ("_cancelled", "_claimed", "in_step", "stopped")
    __perdure_context__ = True  # how the registry knows which parameters to fill in

    def __init__(self, claimed: Claimed) -> None:
        self._claimed = claimed
        self._cancelled = self.stopped = self.in_step = False

    @property
    def claimed(self) -> Claimed:
        """The job as it was claimed."""
        return self._claimed

    def lent(self) -> Self:
        """The same, for the steps of a run: the job goes on when a step has returned, so a step can't end it, nor say
        how far it is. Called by the worker."""
        self.in_step = True
        return self

    def refuse_in_step(self, what: str, fix: str) -> None:
        """Raise Unsupported where the handler runs as a step."""
        if self.in_step:
            raise Unsupported("is of the whole job, and this is a step of a run", field=f"ctx.{what}", fix=fix)

    @property
    def job(self) -> Running:
        """The job: id, task, key, tags, created_at."""
        claimed, extras = self._claimed, self._claimed.extras
        key, tags = (extras.key, tuple(extras.tags or ())) if extras is not None else (None, ())
        return Running(claimed.id, claimed.task, key, tags, claimed.created_at)

    @property
    def context(self) -> Envelope:
        """What the job is part of: who asked for it, for whom. Everything the handler enqueues carries it on."""
        return self._claimed.envelope

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; of the step, in a step of a run. A crash of a worker isn't one."""
        step = STEP.get() if self.in_step else None
        return self._claimed.attempt if step is None else step.attempt

    @property
    def fence(self) -> Fence:
        """The token to hand to outside systems, which refuse a lower generation than they have seen."""
        return Fence(self._claimed.lease.id, self._claimed.generation)

    @property
    def idempotency_key(self) -> str:
        """What to give to an outside system that knows a repeated request by its key: the same in every attempt of this
        job, and no other job's. In a step of a run it is the step's: the same in every attempt and after every crash,
        and no other step's, nor that of the same step in another round or another run, nor of one that a rewind lets
        be done anew after it was undone."""
        key = f"{self._claimed.id}-{int(self._claimed.created_at.timestamp() * 1_000_000)}"
        if not self.in_step:
            return key
        if (step := STEP.get()) is None:
            raise Unsupported("is asked for outside of a step", field="ctx.idempotency_key", fix="ask in the step")
        return str(uuid5(_KEYS, f"{key}-{step.of}"))

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop: cancelled, timed out, paused, or its worker drains. A thread can't be
        interrupted; it can ask.

        Stopping means raising, whatever it be: a handler that returns has completed, also when it was half way.
        """
        return self._cancelled

    def raise_if_cancelled(self) -> None:
        """Leave the handler if the job should stop: then this raises Stopped, which isn't meant to be caught."""
        if self._cancelled:
            raise Stopped("the job was told to stop")

    def cancel(self, *, stopped: bool = False) -> None:
        """Say to the handler that it should stop. Called by the worker. ``stopped``: what runs it is cancelled, too."""
        self._cancelled, self.stopped = True, self.stopped or stopped

    @property
    def unfinished(self) -> bool:
        """Whether the handler has left something that is committed, or thrown away, with the end of its job."""
        return False

    async def conclude(self, end: End) -> End:
        """Commit with the end what the handler has left, or throw it away. The worker calls it, once, when the handler
        has ended; nothing stops the job from then on. Raises what Postgres said; then nothing was committed, except
        that of a ConnectionLost one can't know."""
        return end

    def conclude_here(self, end: End) -> End:
        """The same, in a thread or a child process."""
        return end

    unsaved: bool = False
    """Whether something was reached that isn't saved yet."""

    told: bool = False
    """Whether the end of the job was written into a transaction that is the application's to commit."""

    def keep(self) -> None:
        """Save it. Called where the handler ran, when it has ended without completing."""

    async def akeep(self) -> None:
        """The same, on the event loop."""

    async def leave(self) -> None:
        """Let go of what belongs to the event loop that is about to end. Called in a child process, which has one for
        each handler."""
