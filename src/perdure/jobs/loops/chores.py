"""Housekeeping, which is everybody's job: promotion, rescue, cancel sweeps, parked jobs, day partitions.

Each chore is a small idempotent op that one worker at a time does; what there is to do comes from the looks and beats
that happen anyway, so an idle worker sends nothing for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from ...core import limits
from ...core.errors import ConnectionLost, DatabaseError, LockTimeout
from ...core.op import Op
from ...fleet.ops import workers
from ...runtime.clock import monotonic
from ...runtime.dice import jittered
from ..due import LAG_SECONDS, Due
from ..ops import chores as ops
from ..ops.claim import Look
from ..ops.rescue import close_leases, rescue
from .settler import Link

log = logging.getLogger("perdure.chores")

DAY_CHORES_SECONDS = 3_600.0
"""Partitions are looked after this often."""

DAY_RETRY_SECONDS = 60.0
"""The same when it failed, or somebody was reading: days are made long before they are needed."""

RELEASE_SECONDS = 3.0
"""Between two releases of parked jobs: while workers of an older version run, they may park the same ones again."""


class Chores:
    """Does what looks and beats have found. ``tasks``: the names this worker knows, for jobs parked as unknown."""

    def __init__(self, link: Link, tasks: Sequence[str], *, history_days: int, on_moved: Callable[[], None]) -> None:
        self._link, self._tasks, self._history_days, self._on_moved = link, list(tasks), history_days, on_moved
        self._stir = asyncio.Event()
        self._due_at: float | None = None
        self._tend_next = False
        self.due = Due()
        """Where looks and promotions begin."""
        self._lost = self._requests = self._parked = False
        self._release_at = 0.0
        self._expired: set[int] = set()
        self._days_at = 0.0
        self.counts: Counter[str] = Counter()

    def look(self, look: Look) -> None:
        """Take what a look has found."""
        self._due_at = None if look.due_in is None else monotonic() + look.due_in
        self.due.looked(look.clock, look.due_at, monotonic())
        self._tend_next = True
        self._lost |= look.lost
        self._requests |= look.requests
        self._parked |= look.parked
        self.expired(look.expired)
        self._stir.set()

    def expired(self, workers: Sequence[int]) -> None:
        """Take workers whose beat has run out."""
        if workers:
            self._expired.update(workers)
            self._stir.set()

    async def run(self) -> None:
        """Do chores until cancelled."""
        while True:
            await self._wait()
            try:
                await self._bury_workers()
                await self._rescue()
                await self._tend()
                await self._promote()
                await self._sweep()
                await self._days()
            except DatabaseError as error:
                if isinstance(error, ConnectionLost):
                    self.due.reset()
                log.warning("a chore will be done again: %s", error)
                await asyncio.sleep(jittered(0.5))

    async def _wait(self) -> None:
        now = monotonic()
        due = min(self._due_at if self._due_at is not None else now + 60.0, self._days_at)
        if due > now and not self._stir.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stir.wait(), due - now)
        self._stir.clear()

    async def _bury_workers(self) -> None:
        for worker in sorted(self._expired):
            name = await self._link.transaction(workers.declare_dead(worker))
            self._expired.discard(worker)
            if name is not None:
                log.warning("worker %d (%s) gave no sign of life and was declared dead", worker, name)
                self._lost = True

    async def _rescue(self) -> None:
        """One lease a statement, each its own transaction; then, later, the lease rows that are empty."""
        if not self._lost:
            return
        self._lost, after = False, 0
        while (found := await self._link.run(rescue(after))).lease is not None:
            after = found.lease
            self.counts["rescued"] += found.rescued
            if found.rescued:
                told = (found.rescued, found.lease, found.worker, found.buried)
                log.warning("rescued %d jobs of lease %d (worker %s), %d of them to the dead", *told)
                self._on_moved()
        await self._link.run(close_leases())

    async def _tend(self) -> None:
        """Once a look, while the floor of what is scheduled moves or has guards: raise it, or sweep what lost one."""
        if not self._tend_next or not self.due.open:
            return
        self._tend_next = False
        holders = await self._link.run(ops.due_writers())
        ranges = self.due.floor.listed(holders, monotonic(), LAG_SECONDS)
        if ranges and self.due.floor.probed(await self._link.run(ops.due_probe(ranges))):
            self._due_at = monotonic()

    async def _promote(self) -> None:
        if self._due_at is None or monotonic() < self._due_at:
            return
        self._due_at = None
        moved = limits.CHORE_BATCH_MAX
        while moved == limits.CHORE_BATCH_MAX:
            moved = await self._link.run(ops.promote(floor=self.due.start))
            self.counts["promoted"] += moved
            if moved:
                self.due.promoted()
                self._on_moved()

    async def _sweep(self) -> None:
        if self._requests:
            self._requests = False
            await self._guarded("cancels", ops.sweep_cancels())
        if self._parked and monotonic() >= self._release_at:
            self._release_at = monotonic() + jittered(RELEASE_SECONDS)
            released = limits.CHORE_BATCH_MAX
            while released == limits.CHORE_BATCH_MAX:
                released = await self._link.run(ops.release(self._tasks))
                self.counts["released"] += released
            self._parked = False  # only now: a release that failed is done again

    async def _days(self) -> None:
        if monotonic() < self._days_at:
            return
        self._days_at, read = monotonic() + jittered(DAY_RETRY_SECONDS), False
        for parent in ops.DAY_TABLES:
            for op in (ops.make_days(parent), ops.drop_days(parent, self._history_days)):
                try:
                    await self._guarded("days", op, ops.DAYS_LOCK_MS)
                except LockTimeout:
                    log.info("the days of %s will be seen to later: a transaction that reads it is open", parent)
                    read = True
        await self._link.run(workers.prune())
        if not read:
            self._days_at = monotonic() + jittered(DAY_CHORES_SECONDS)

    async def _guarded(self, chore: str, op: Op[int], lock_ms: int | None = None) -> None:
        self.counts[chore] += await self._link.transaction(_if_mine(chore, op, lock_ms))


def _if_mine(chore: str, op: Op[int], lock_ms: int | None) -> Op[int]:
    if not (yield from ops.mine(chore, lock_ms)):
        op.close()
        return 0
    return (yield from op)
