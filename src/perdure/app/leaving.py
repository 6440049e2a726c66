"""How a worker leaves: it claims no more, gives back what hasn't started, and lets what runs finish, for so long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass

from ..core.errors import DatabaseError
from ..fleet.ops import workers
from ..jobs.loops.claimer import Claimer, Identity
from ..jobs.loops.runner import Runner
from ..jobs.loops.settler import Settler
from ..jobs.work import End
from ..pg.link import Link
from ..runtime import faults
from ..runtime.clock import monotonic

log = logging.getLogger("perdure.worker")

STOP_GRACE_SECONDS = 2.0
"""What handlers get to react to being stopped, once the drain's deadline has passed."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Of one worker: what it works with. ``now``: set by a second stop, which ends the patience."""

    me: Identity
    runners: Sequence[Runner]
    claimer: Claimer
    settler: Settler
    chores: Link
    now: asyncio.Event

    async def run(self, seconds: float, claiming: asyncio.Task[None]) -> bool:
        """In this order: stop claiming, give back, finish, stop, settle. True when everything has ended by itself."""
        deadline = monotonic() + seconds
        running, waiting = sum(r.running for r in self.runners), sum(len(r.backlog) for r in self.runners)
        log.info("draining: %d jobs run, %d go back", running, waiting)
        await within(max(deadline - monotonic(), STOP_GRACE_SECONDS), self.claimer.stop(), self.now)
        claiming.cancel()  # if it still waits for a server: what it may have claimed is given back or rescued
        await within(5.0, self.chores.run(workers.drain(self.me.worker)), self.now)
        for runner in self.runners:
            for job in runner.take_back():
                self.settler.end(End(job, "returned", 0, reason="drained"))
        faults.point("drain.given_back")
        await self._until_idle(deadline)
        clean = not any(runner.running for runner in self.runners)
        if not clean:
            stopped = sum(runner.stop_jobs("drained") for runner in self.runners)
            log.warning("the drain's deadline has passed: %d running jobs are told to stop", stopped)
            await self._until_idle(monotonic() + STOP_GRACE_SECONDS)
            for runner in self.runners:
                for job in runner.abandon("drained"):
                    said = "job %d (%s) didn't stop; it is given up, and its late end will be refused"
                    log.error(said, job.id, job.task, extra={"claimed": job})
        await within(10.0, self.settler.settled(), self.now)
        faults.point("drain.settled")
        return clean

    async def _until_idle(self, deadline: float) -> None:
        """Until nothing runs, the deadline passes, or a second stop ends the patience."""
        while any(runner.running for runner in self.runners) and monotonic() < deadline:
            if self.now.is_set() and deadline - monotonic() > STOP_GRACE_SECONDS:
                return
            await asyncio.sleep(0.02)


async def within(seconds: float, act: Coroutine[None, None, object], now: asyncio.Event) -> None:
    """Do it, for so long at most; once ``now`` is set it has STOP_GRACE_SECONDS."""
    loop = asyncio.get_running_loop()
    doing, hurry = loop.create_task(act), loop.create_task(now.wait())
    await asyncio.wait((doing, hurry), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if not doing.done() and hurry.done():
        await asyncio.wait((doing,), timeout=min(seconds, STOP_GRACE_SECONDS))
    hurry.cancel()
    doing.cancel()
    with contextlib.suppress(DatabaseError, asyncio.CancelledError):
        await doing
