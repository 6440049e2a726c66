"""What a worker holds in its hands: leases, the jobs claimed in them, and how each of them ended.

These are Structs and not dataclasses because there is one of each per job on the hottest path of the product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from ..core import context
from ..core.op import Op
from .saves import Kept


class Lease(msgspec.Struct, gc=False, eq=False):
    """One claimed batch. ``left`` counts its jobs that have not ended; at nought the lease row can go.

    ``lost``: the database no longer has it as ours, so nothing in it may be settled.
    """

    id: int
    left: int
    lost: bool = False


class StepCall(msgspec.Struct, frozen=True, gc=False):
    """The step as which a run's job calls something: which attempt of it that is, and its run's round and its name."""

    attempt: int
    of: str


class Extras(msgspec.Struct, gc=False):
    """What few jobs have, so it travels apart: key, tags, the enqueuer's options, rescues so far, when it expires.

    ``expires_at``: seconds since 1970; a job may expire at a moment that no datetime can hold. ``unreadable``: why the
    job can't be run by anybody, found when it was claimed. ``context``: its envelope's stored form, decoded. ``kept``:
    the checkpoint it goes on from. ``sides``: it has rows in side tables, which its end must clear. ``step``: as which
    step of a run it is called, in a child process.
    """

    key: str | None = None
    tags: list[str] | None = None
    options: dict[str, Any] | None = None
    rescues: int = 0
    expires_at: float | None = None
    context: Any = None
    unreadable: str | None = None
    kept: Kept | None = None
    sides: bool = False
    step: StepCall | None = None


class Claimed(msgspec.Struct, eq=False):
    """One job in hand. (id, generation) is its fence; ``attempt`` counts from 1 and includes this one."""

    id: int
    generation: int
    lease: Lease
    attempt: int
    task: str
    payload: msgspec.Raw
    created_at: datetime
    extras: Extras | None = None
    cancelled: bool = False
    expired: bool = False
    started: float = 0.0

    @property
    def envelope(self) -> context.Envelope:
        """The context that it was enqueued in."""
        return context.EMPTY if self.extras is None else context.read(self.extras.context)

    @property
    def cause(self) -> str:
        """What it is called in the context of whatever it causes."""
        return f"job:{self.id}"

    @property
    def version(self) -> int:
        """Of its arguments: 1 when its enqueuer said nothing."""
        said = self.extras.options.get("version") if self.extras is not None and self.extras.options else None
        return said if isinstance(said, int) else 1


Verdict = Literal[
    "completed", "cancelled", "expired", "retry", "snooze", "dead", "held", "returned", "crashed", "deferred", "waiting"
]  # fmt: skip


class End(msgspec.Struct, gc=False, eq=False):
    """How one claimed job ended. Made by ``rules``; settled by ``ops.settle``.

    ``elapsed``, ``delay``: seconds. ``charge``: attempts charged, 0 or 1. ``text``: error or reason, for people.
    ``reason``: the stable word for dead and held; ``key``: what it is held for. ``written``: whether a transaction of
    the handler's own has settled the job already, which isn't always known.
    ``crashed``: a suspect's child died under it (``reason`` is set when that was the last time); ``deferred``: no child
    was free for it. ``wake_at``: when a waiting job is woken. ``then``: what else its settlement's
    transaction does; it is given the ends that share it.
    """

    job: Claimed
    verdict: Verdict
    charge: int = 1
    elapsed: float | None = None
    result: str | None = None
    text: str | None = None
    delay: float = 0.0
    reason: str | None = None
    key: str | None = None
    written: Literal["no", "yes", "perhaps"] = "no"
    wake_at: datetime | None = None
    then: Callable[[Sequence[End]], Op[object]] | None = None
