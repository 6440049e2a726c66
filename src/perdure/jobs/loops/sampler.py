"""The sampler: counts the queues its worker serves, and lets in those who wait in line for room in them.

A queue is counted while it is in use, at most every so often, and never for more than a twentieth of the time; a
bounded one also now and then when it seems idle, because a job may have joined its line in a transaction that took its
time. What is counted is for everybody: enqueuers judge by it, and ``perdure queues`` shows it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from ...core import limits
from ...core.errors import DatabaseError
from ...runtime.clock import monotonic
from ...runtime.dice import jittered
from ..ops.admission import advance, sample
from .intake import Intake
from .link import Link

log = logging.getLogger("perdure.sample")

TICK_SECONDS = 0.25


class OnRule(Protocol):
    """What hears of a rule."""

    def __call__(self, name: str, *, tenant_required: bool) -> None: ...  # noqa: D102


class _Watched:
    """One queue, and what is known of it. ``lined``: jobs wait for room in it."""

    __slots__ = ("ended", "guarded", "idle_at", "intake", "lined", "next_at")

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.ended, self.next_at, self.idle_at = -1, 0.0, 0.0
        self.guarded = self.lined = False

    def is_due(self, now: float) -> bool:
        """Whether it is to be counted: in use and not counted lately, or bounded and not for long. It must be there."""
        runner = self.intake.runner
        moved = runner.ended != self.ended or runner.running > 0
        return self.intake.id > 0 and now >= (self.next_at if moved else self.idle_at)

    def counted(self, now: float, took: float) -> None:
        """Note that it was counted, and decide when it will be again."""
        self.ended = self.intake.runner.ended
        period = limits.SAMPLE_SECONDS if self.guarded else limits.SAMPLE_UNBOUNDED_SECONDS
        self.next_at = now + jittered(max(period, took * limits.SAMPLE_SHARE))
        self.idle_at = now + jittered(limits.SAMPLE_IDLE_SECONDS) if self.guarded else float("inf")


class Sampler:
    """Watches the queues of these intakes. ``on_moved``: something was let into ready, so claims may find it.
    ``on_rule`` hears of each queue, by its name, whether it takes jobs for a tenant only."""

    def __init__(self, link: Link, intakes: Sequence[Intake], *, on_moved: Callable[[], None], on_rule: OnRule) -> None:
        self._link, self._on_moved, self._on_rule = link, on_moved, on_rule
        self._watched = [_Watched(intake) for intake in intakes]
        self.advanced = 0

    async def run(self) -> None:
        """Count, and let in, until cancelled."""
        while True:
            try:
                for queue in self._watched:
                    if queue.is_due(monotonic()):
                        await self._count(queue)
                    if queue.lined:
                        await self._let_in(queue)
            except DatabaseError as error:
                log.warning("counting queues will be tried again: %s", error)
                await asyncio.sleep(jittered(0.5))
            lined = any(queue.lined for queue in self._watched)
            await asyncio.sleep(limits.ADVANCE_SECONDS if lined else TICK_SECONDS)

    async def _count(self, queue: _Watched) -> None:
        began = monotonic()
        found = await self._link.run(sample(queue.intake.id, limits.SAMPLE_SECONDS / 2))
        if found is not None:
            queue.guarded, queue.lined = found.guarded, found.lined
            self._on_rule(queue.intake.name, tenant_required=found.tenant_required)
        queue.counted(monotonic(), monotonic() - began)

    async def _let_in(self, queue: _Watched) -> None:
        moved = limits.CHORE_BATCH_MAX
        while moved == limits.CHORE_BATCH_MAX:
            moved = await self._link.run(advance(queue.intake.id))
            self.advanced += moved
            if moved:
                self._on_moved()
