"""Housekeeping, which is everybody's job: promotion, rescue, cancel sweeps, parked jobs, and what has a period.

Each chore is a small idempotent op that one worker at a time does, in a transaction that holds the chore's lock. What
jobs wait for is done when the looks and beats that happen anyway find something, so an idle worker sends nothing for
it; what has a period (``ops.chores.duties``) is done once in it, by whoever gets to it first. A failure is remembered
in the database (``fleet.ops.upkeep``), so that it holds up the next worker, too, and reaches somebody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from typing import NamedTuple, TypeVar

from ...core import limits
from ...core.errors import ConnectionLost, DatabaseError, ServerUnavailable, TransientError
from ...core.op import Op
from ...fleet.model import Done
from ...fleet.ops import upkeep, workers
from ...runtime import faults
from ...runtime.clock import monotonic
from ...runtime.dice import jittered
from ..due import LAG_SECONDS, Timetable
from ..ops import chores as ops
from ..ops.claim import Look
from ..ops.follow import Sweep
from ..ops.pause import sweep_pauses
from ..ops.rescue import Rescue, close_leases, rescue
from ..ops.wake import alarm_probe, alarm_writers, rouse
from .link import Link

R = TypeVar("R")
log = logging.getLogger("perdure.chores")

LOOK_SECONDS, LOOKS_MAX = 0.05, 20
"""How long another worker's look at a duty may take, and how often it is waited for."""
PAUSE_SECONDS = 0.5
"""After a lost connection, and before what another transaction's lock held up is tried again."""

DUTY_RETRY_SECONDS = 60.0
"""The latter for a duty: days are made long before they are needed."""

RELEASE_SECONDS = 3.0
"""Between two releases of parked jobs: while workers of an older version run, they may park the same ones again."""

FOUND = (
    "bury", "rescue", "follow_ups", "runs", "promote", "rouse", "nudges", "cancels", "pauses", "release",
)  # fmt: skip
"""The chores that looks and beats find something for."""

_CONTENDED = ("55P03", "40")  # a lock wasn't granted in time; a deadlock, or a serialisation that failed
_TOO_MUCH = ("53200", "54", "57014")  # out of memory, a limit of the server's, or of the time a statement may take


class Errands(NamedTuple):
    """What other rooms have done with the chores: ``nudged`` when runs were nudged, ``buried`` when a rescue has buried
    jobs, and ``duties`` of their own."""

    nudged: Callable[[int], Op[int]]
    buried: Callable[[int], Op[int]]
    duties: Sequence[ops.Duty]


class Chores:
    """Does what looks and beats have found, and the duties that are due.

    ``me``: this worker's id. ``tasks``: the names it knows, for jobs parked as unknown. ``on_moved``: called when jobs
    have become ready. ``periodic``: whether it serves the duties. ``counts``: how much was done, by chore; ``failures``
    and ``contended``: how often it failed, and how often a lock of somebody else's held it up.
    """

    def __init__(
        self,
        link: Link,
        me: Callable[[], int],
        tasks: Sequence[str],
        *,
        history_days: int,
        on_moved: Callable[[], None],
        errands: Errands | None = None,
        periodic: bool = True,
    ) -> None:
        self._link, self._me, self._tasks, self._on_moved = link, me, list(tasks), on_moved
        self._duties = [*ops.duties(history_days), *(errands.duties if errands else ())] if periodic else []
        self._errands = errands
        self._stir = asyncio.Event()
        self._scheduled = Timetable("promote", ops.promote, ops.due_writers, ops.due_probe)
        self._waiting = Timetable("rouse", rouse, alarm_writers, alarm_probe)
        self.due, self.alarm = self._scheduled.due, self._waiting.due
        """Where looks at both, and promotions, begin."""
        self._lost = self._requests = self._nudged = self._parked = False
        self._release_at = 0.0
        self._expired: set[int] = set()
        self._not_before: dict[str, float] = {}
        self.paused = False
        """Whether a crash loop of workers keeps the duties waiting."""
        self.names = (*FOUND, *(duty.name for duty in self._duties))
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.contended: Counter[str] = Counter()

    def look(self, look: Look) -> None:
        """Take what a look has found."""
        self._scheduled.looked(look.clock, look.due_in, look.due_at, monotonic())
        self._waiting.looked(look.clock, look.wake_in, look.wake_at, monotonic())
        self._lost |= look.lost
        self._requests |= look.requests
        self._nudged |= look.nudged
        self._parked |= look.parked
        self.expired(look.expired)
        self._stir.set()

    def expired(self, workers: Sequence[int]) -> None:
        """Take workers whose beat has run out. A worker whose own is among them has stood still, perhaps with its whole
        machine: it judges nobody, least of all itself."""
        if workers and self._me() not in workers:
            self._expired.update(workers)
            self._stir.set()

    async def run(self) -> None:
        """Do chores until cancelled."""
        while True:
            await self._wait()
            try:
                await self._attend()
                for duty in self._duties:
                    await self._try(duty.name, partial(self._serve, duty), duty)
            except DatabaseError as error:
                if isinstance(error, ConnectionLost):
                    self.due.reset()
                    self.alarm.reset()
                log.warning("chores will go on: %s", error)
                await asyncio.sleep(jittered(PAUSE_SECONDS))

    async def _attend(self) -> None:
        """What looks and beats have found, in this order."""
        await self._try("bury", self._bury_workers)
        await self._try("rescue", self._rescue)
        for table in (self._scheduled, self._waiting):
            await self._try(table.name, partial(self._promote, table))
        await self._try("nudges", self._stir_up)
        await self._try("cancels", self._sweep)
        await self._try("release", self._release)

    async def _wait(self) -> None:
        now = monotonic()
        # What is due while its chore waits after a failure is due then: this must not come back at once for ever.
        tables = [max(each.at, self._not_before.get(each.name, 0.0)) for each in (self._scheduled, self._waiting)]
        due = min(*tables, now + 60.0, *map(self._at, self._duties))
        if due > now and not self._stir.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stir.wait(), due - now)
        self._stir.clear()

    def _at(self, duty: ops.Duty) -> float:
        return self._not_before.get(duty.name, 0.0)

    async def _try(self, chore: str, act: Callable[[], Awaitable[None]], duty: ops.Duty | None = None) -> None:
        """Do a chore that doesn't hold up the others when it fails. A lost connection is nobody's failure here."""
        if monotonic() < self._not_before.get(chore, 0.0):
            return
        try:
            await act()
        except (ConnectionLost, ServerUnavailable):
            raise
        except (DatabaseError, MemoryError) as error:
            await self._failed(chore, error, duty)

    async def _failed(self, chore: str, error: DatabaseError | MemoryError, duty: ops.Duty | None) -> None:
        """Remember it, and wait: longer after each failure in a row, until a duty is parked."""
        state = _TOO_MUCH[0] if isinstance(error, MemoryError) else error.sqlstate or ""
        if isinstance(error, TransientError) and state.startswith(_CONTENDED):
            self.contended[chore] += 1
            pause = PAUSE_SECONDS if duty is None else DUTY_RETRY_SECONDS
            self._not_before[chore] = monotonic() + jittered(pause)
            log.info("%s waits for another transaction, and is tried again in %.1f s: %s", chore, pause, error)
            if duty is not None:
                await self._link.run(upkeep.fail(chore, str(error), parks=True, charge=False, pause=pause))
            return
        self.failures[chore] += 1
        batch = limits.CHORE_BATCH_MAX if duty is None else duty.batch
        halves = batch if state.startswith(_TOO_MUCH) else None
        self._not_before[chore] = monotonic() + limits.CHORE_PAUSE_SECONDS  # also when it can't be remembered
        setback = await self._link.run(upkeep.fail(chore, str(error), parks=duty is not None, halves=halves))
        self._not_before[chore] = monotonic() + setback.due_in
        told = f"it is parked for {setback.due_in:.0f} s" if setback.parked else f"again in {setback.due_in:.0f} s"
        log.error("%s failed (%d in a row), %s: %s", chore, setback.failures, told, error)

    async def _do(self, chore: str, act: Callable[[int], Op[R]], more: Callable[[R, int], bool]) -> Done[R]:
        """Once, what a look has found, if no other worker does it."""
        done = await self._link.transaction(upkeep.do(chore, act, limits.CHORE_BATCH_MAX, more=more))
        if done.wait:
            self._not_before[chore] = monotonic() + done.wait
        return done

    async def _drain(self, chore: str, act: Callable[[int], Op[int]]) -> None:
        """As often as there is more."""
        more = True
        while more:
            done = await self._do(chore, act, _as_much)
            more = done.more
            if done.result:
                self.counts[chore] += done.result
                for table in (self._scheduled, self._waiting):
                    if chore == table.name:
                        table.due.promoted()
                        self._on_moved()

    async def _bury_workers(self) -> None:
        for worker in sorted(self._expired):
            name = (await self._do("bury", partial(_bury, worker), _as_one)).result
            self._expired.discard(worker)
            faults.point("bury.after")
            if name is not None:
                log.warning("worker %d (%s) gave no sign of life and was declared dead", worker, name)
                self._lost = True
                self.counts["bury"] += 1

    async def _rescue(self) -> None:
        """One lease a statement, each its own transaction; then, later, the lease rows that are empty."""
        if not self._lost:
            return
        self._lost, after = False, 0
        faults.point("rescue.before")
        while (found := (await self._do("rescue", partial(_rescue, after), _more_leases)).result) is not None:
            if found.lease is None:
                break
            after = found.lease
            self.counts["rescue"] += found.rescued
            if found.rescued:
                told = (found.rescued, found.lease, found.worker, found.buried, found.suspects)
                log.warning("rescued %d jobs of lease %d (worker %s): %d to the dead, %d will run alone", *told)
                self._on_moved()
            if found.buried:
                await self._drain("follow_ups", partial(Sweep(), all=False))
                if self._errands is not None:
                    await self._drain("runs", self._errands.buried)
        faults.point("rescue.after")
        await self._link.run(close_leases())

    async def _tend(self, table: Timetable) -> None:
        """Once a look, while the table's floor moves or has guards: raise it, or sweep what lost one."""
        if not table.tend_next or not table.due.open:
            return
        table.tend_next = False
        holders = await self._link.run(table.writers())
        ranges = table.due.floor.listed(holders, monotonic(), LAG_SECONDS)
        if ranges and table.due.floor.probed(await self._link.run(table.probe(ranges))):
            table.at = monotonic()

    async def _promote(self, table: Timetable) -> None:
        await self._tend(table)
        if monotonic() < table.at:
            return
        table.at = inf
        faults.point("promote.before")
        await self._drain(table.name, lambda limit: table.promote(limit, floor=table.due.start))
        faults.point("promote.after")

    async def _stir_up(self) -> None:
        if self._nudged and self._errands is not None:
            self._nudged = False
            await self._drain("nudges", self._errands.nudged)

    async def _sweep(self) -> None:
        if self._requests:
            self._requests = False
            await self._drain("cancels", ops.sweep_cancels)
            await self._drain("pauses", sweep_pauses)

    async def _release(self) -> None:
        if self._parked and monotonic() >= self._release_at:
            self._release_at = monotonic() + jittered(RELEASE_SECONDS)
            await self._drain("release", lambda limit: ops.release(self._tasks, limit))
            self._parked = False  # only now: a release that failed is done again

    async def _serve(self, duty: ops.Duty) -> None:
        """A duty that may be due: begin it in a transaction of its own, then do it, a batch a transaction."""
        turn = await self._link.transaction(upkeep.begin(duty.name, self._me(), duty.period, pausable=duty.pausable))
        if duty.pausable:
            self._pause(turn.paused)
        if not turn.now:
            self._not_before[duty.name] = monotonic() + jittered(turn.wait)
            self.failures[duty.name] += turn.crashed
            if turn.crashed:
                log.error("%s was begun by a worker that is gone, and counts as failed", duty.name)
            return
        more, looks = True, 0
        while more:
            faults.point("chore.run")
            done = await self._link.transaction(
                upkeep.do(duty.name, duty.op, duty.batch, more=_as_much, period=duty.period, lock_ms=duty.lock_ms)
            )
            if done.result is None and looks < LOOKS_MAX:
                # It is ours to do: who has the lock is just looking whose it is.
                looks += 1
                await asyncio.sleep(jittered(LOOK_SECONDS))
                continue
            more = done.more
            self.counts[duty.name] += done.result or 0
            await self._attend()  # no job waits for a duty, however long it takes
        self._not_before[duty.name] = monotonic() + jittered(duty.period if done.result is not None else done.wait)

    def _pause(self, paused: bool) -> None:
        if paused and not self.paused:
            log.warning("workers end uncleanly again and again: what no job waits for is paused (see perdure status)")
        self.paused = paused


def _as_much(done: int, bound: int) -> bool:
    return done >= bound


def _as_one(name: str | None, bound: int) -> bool:
    return False


def _more_leases(found: Rescue, bound: int) -> bool:
    return found.lease is not None


def _bury(worker: int, bound: int) -> Op[str | None]:
    return workers.declare_dead(worker)


def _rescue(after: int, bound: int) -> Op[Rescue]:
    return rescue(after)
