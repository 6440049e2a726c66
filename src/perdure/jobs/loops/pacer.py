"""The pacer: keeps true what rescue believes of a worker's leases, and believes in as little as it can.

Handlers start in the order of their lease, so of its unsettled jobs only the first may have been started: as many as
there are slots, and as many again as have returned without being settled. A worker promises how many these are at most,
in its row. When it comes to that many it starts nothing until a larger promise stands there, a round trip later; the
largest is none, and then everything in its leases may have been started. After a quiet minute it takes a step back.

Why it is exact. A start finds fewer than ``most`` ends waiting (one more, if a thread asks just then) and less than
THREAD_ENDS_MAX on their way from the threads of each queue, and all that has been started beyond those is in a slot.
Between two starts the sum only falls: what ends moves from its slot to the ends, and what is settled is gone. And the
jobs that slots have taken and put back are the first of the backlog, no more of them than slots that run nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from ...core import limits
from ...core.errors import DatabaseError
from ...core.op import Op
from ...fleet.ops.workers import promise
from ...runtime.dice import jittered

R = TypeVar("R")
log = logging.getLogger("perdure.settle")

STEPS: tuple[int | None, ...] = (*limits.UNSETTLED_STEPS, None)
"""Ends that may wait, from one promise to the next."""

PAUSE_SECONDS = 0.05

QUIET_SECONDS = 60.0
"""How long a promise must have been twice as large as need be before it is made smaller."""


class Link(Protocol):
    """A connection that is made again when it breaks."""

    async def run(self, op: Op[R]) -> R:
        """Drive the op."""
        ...


class Pacer:
    """One worker's promise. ``threaded``: queues whose jobs may run in threads."""

    def __init__(self, link: Link, worker: Callable[[], int], threaded: int) -> None:
        self._link, self._worker, self._threaded = link, worker, threaded
        self._step = self._peak = 0
        self.bounded = True
        """Whether ends that wait must be counted. Asked for each job, so it isn't worked out."""
        self._wanted = asyncio.Event()
        self._widened = asyncio.get_running_loop().create_future()
        self.writing = asyncio.Lock()
        """Held while a promise is written, so that a new row isn't given one that is outdated."""
        self.full = False
        """Whether nothing may be started just now."""

    @property
    def most(self) -> int | None:
        """Ends that may wait; None for any number."""
        return STEPS[self._step]

    @property
    def promised(self) -> int | None:
        """What the worker's row says: handlers that may have returned without their jobs being settled."""
        return self._promise(self.most)

    def _promise(self, most: int | None) -> int | None:
        return None if most is None else most + 1 + self._threaded * (limits.THREAD_ENDS_MAX + 1)

    def waits(self, ends: int) -> None:
        """So many ends wait to be settled now."""
        self._peak = max(self._peak, ends)
        self.full = self.most is not None and ends >= self.most
        if self.full:
            self._wanted.set()

    async def pause(self) -> None:
        """Wait for a moment, or until more may be started."""
        await asyncio.wait((self._widened,), timeout=PAUSE_SECONDS)

    async def run(self) -> None:
        """Write promises until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._wanted.wait(), QUIET_SECONDS)
            except TimeoutError:
                await self._narrow()
            else:
                await self._widen()

    async def _widen(self) -> None:
        async with self.writing:
            wider = min(self._step + 1, len(STEPS) - 1)
            if await self._written(self._promise(STEPS[wider])):
                self._step, self.full, self.bounded = wider, False, STEPS[wider] is not None
                self._wanted.clear()
                self._widened.set_result(None)
                self._widened = asyncio.get_running_loop().create_future()

    async def _narrow(self) -> None:
        peak, self._peak = self._peak, 0
        if self._step and peak * 2 < (STEPS[self._step - 1] or 0):
            async with self.writing:
                self._step, self.bounded = self._step - 1, True  # kept from now on, so it may be written later
                await self._written(self.promised)

    async def _written(self, unsettled: int | None) -> bool:
        try:
            return await self._link.run(promise(self._worker(), unsettled))
        except DatabaseError as error:
            log.warning("a promise will be written again: %s", error)
            await asyncio.sleep(jittered(0.1))
            return False
