"""The claimer: claims for the queues that have room, keeps the floors true, and sleeps without missing a commit.

Going to sleep: put up the sign, *then* list the writers of ``ready``, then claim once more. A writer that tested the
sign before it stood is in that list: until it has ended the claimer goes on polling. Everybody later notifies. The
poll is the truth all the same: a look per POLL_IDLE_SECONDS finds whatever a lost notify would have told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, MutableMapping, Sequence, Set
from math import inf

from ...core import limits
from ...core.errors import ConnectionLost, DatabaseError
from ...core.op import Op
from ...core.telemetry import Histogram
from ...runtime import faults
from ...runtime.clock import monotonic
from ...runtime.dice import jittered
from ..due import Due
from ..floors import Holders, lag_seconds
from ..ops import claim as ops
from ..ops.sleep import rise, sleep
from ..work import Claimed, Lease
from .intake import Intake
from .link import Link

log = logging.getLogger("perdure.claim")

WATCH_SECONDS = 2.0
"""How long writers that were under way when the claimer fell asleep are polled for closely."""

LAPSE_MARGIN_SECONDS = 0.005
"""A look for a worker whose beat runs out comes this much after that moment. A healthy worker beats again long before
the next regular look, so this costs an idle worker nothing."""


class Identity:
    """Which worker row, and which incarnation of it, claims prove themselves with; and how many workers live."""

    __slots__ = ("asked", "incarnation", "living", "worker")

    def __init__(self) -> None:
        self.worker, self.incarnation, self.asked, self.living = 0, 0, 0, 1

    def next(self) -> int:
        """An incarnation that was never asked for, however often an answer was lost."""
        self.asked = max(self.asked, self.incarnation) + 1
        return self.asked


class Claimer:
    """Claims for all queues of one worker, on one connection, one statement at a time.

    ``tasks``: the names it can run. ``leases`` gets every lease it claims, by id. ``due``, ``alarm``: where looks begin
    at what is scheduled, and at what waits until a moment. ``tell``: drives an op on the listening session.
    ``may_claim``: false while the settler is behind or trust has lapsed. ``on_look`` gets every look, for the chores,
    ``on_suspects`` the jobs that must run alone.
    ``on_unknown``: a claim's outcome is unknown; it returns when the worker knows again what it holds.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        intakes: Sequence[Intake],
        tasks: Sequence[str],
        leases: MutableMapping[int, Lease],
        due: Due,
        alarm: Due,
        *,
        tell: Callable[[Op[int]], object],
        may_claim: Callable[[], bool],
        on_look: Callable[[ops.Look], None],
        on_suspects: Callable[[Sequence[Claimed]], None],
        on_unknown: Callable[[], object],
    ) -> None:
        self._link, self._me, self._intakes, self._tasks = link, identity, intakes, tasks
        self._leases, self._due, self._alarm = leases, due, alarm
        self._tell, self._may_claim, self._on_look, self._on_unknown = tell, may_claim, on_look, on_unknown
        self._on_suspects = on_suspects
        self._stir = asyncio.Event()
        self._stopping = False
        self._stopped = asyncio.Event()
        self.asleep = self.recovering = self._taken = False
        self._missing: Set[int] = frozenset()
        self._watch: Holders = frozenset()
        self._slept_at = self._tended_at = self._looked_at = self._next_tend = 0.0
        self._look_next = False
        self._lapse_at, self._spread = inf, 1.0
        self.claims = self.claimed = self.empty = self.looks = self.wakeups = 0
        self.claim_seconds = Histogram()

    def stir(self) -> None:
        """Something changed: room, an end, a beat. Call it on the loop's thread."""
        self._stir.set()

    def beaten(self, living: int, missing: Iterable[int]) -> None:
        """What a beat has brought: how many workers live, and which leases the database doesn't have any more. One that
        is missing twice was taken from this worker, and isn't just being emptied by it: it finds out what it holds."""
        self._me.living = living
        gone = self._leases.keys() & set(missing)
        self._taken = self._taken or not gone.isdisjoint(self._missing)
        self._missing = gone
        self._stir.set()

    def notified(self, payload: str) -> None:
        """A notify: the queue's number, or a hurry for everything."""
        self.wakeups += 1
        for intake in self._intakes:
            if not payload.isdigit() or intake.id == int(payload):
                intake.wet = True
        self._look_next = True
        self._stir.set()

    async def opened(self, name: str, id: int) -> None:
        """A queue has its number only now: claim from it, and fall asleep on it as on the others."""
        for intake in self._intakes:
            if intake.name == name:
                intake.opened(id)
        if self.asleep:
            await self._rise()
        self.stir()

    def sign(self) -> Op[int]:
        """What a new listening session must put up again."""
        return sleep([intake.id for intake in self._intakes if intake.id] if self.asleep else [])

    async def stop(self) -> None:
        """Claim no more; returns when the claim in flight has come back."""
        self._stopping = True
        self._stir.set()
        await self._stopped.wait()

    async def run(self) -> None:
        """Claim until stopped."""
        pause = 0.1
        try:
            while not self._stopping:
                try:
                    if self._taken:
                        log.warning("leases of this worker were taken from it: what runs of them is told to stop")
                        await self._recover()
                    if not await self._round():
                        await self._rest()
                    pause = 0.1
                except ConnectionLost as error:
                    log.warning("the connection for claims is lost: %s", error)
                    await self._recover()
                except DatabaseError as error:
                    log.warning("claiming will be tried again: %s", error)
                    for intake in self._intakes:
                        intake.floor.failed()
                        intake.wet = True
                    await asyncio.sleep(jittered(pause))
                    pause = min(pause * 2, 2.0)
        finally:
            self._stopped.set()

    async def _round(self) -> bool:
        """One claim for each queue that has room and isn't dry. True when something was claimed."""
        took = False
        look, self._look_next = self._look_next, False
        for intake in self._intakes:
            if self._stopping or not intake.wet or not self._may_claim():
                continue
            demand = intake.demand()
            if demand < 1:
                continue
            # Dry before the claim is sent: a notify that comes while it is under way makes the queue wet again.
            intake.wet = False
            worker = self._me.worker
            faults.point("claim.before")
            sent = monotonic()
            batch = await self._link.run(
                ops.claim(worker, self._me.incarnation, intake.id, intake.floor, demand, now=sent)
            )
            self.claims += 1
            self.claim_seconds.observe(monotonic() - sent)
            if batch is None:
                self.empty += 1
                intake.wet = not intake.floor.claimed({}, short=True) or intake.wet
                continue
            faults.point("claim.after")
            if self._me.worker != worker:
                return False  # declared dead meanwhile: this lease is open to rescue, and no longer ours
            took = True
            lease = batch.jobs[0].lease
            self._leases[lease.id] = lease
            self.claimed += len(batch.jobs)
            short = len(batch.jobs) < demand
            intake.wet = not intake.floor.claimed(batch.highest, short=short) or intake.wet
            intake.took(len(batch.jobs), batch.payload_bytes)
            if suspects := batch.suspects():
                self._on_suspects([job for job in suspects if not intake.runner.turns_away(job)])
            intake.runner.offer(batch.jobs)
        self._look_next = self._look_next or (look and not took)
        if took and self.asleep:
            await self._rise()
        await self._upkeep()
        return took

    async def _rest(self) -> None:
        """Nothing could be claimed: fall asleep if there is room, then wait for a stir or the next poll."""
        self._stir.clear()
        if self._stopping:
            return  # told during the round before: what stirred has just been cleared
        if any(intake.wet and intake.demand() and self._may_claim() for intake in self._intakes):
            return
        if not self.asleep and any(intake.demand() for intake in self._intakes):
            await self._fall_asleep()
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stir.wait(), max(self._next_poll() - monotonic(), 0.001))

    async def _fall_asleep(self) -> None:
        self.asleep = True
        await self._as_told(sleep([intake.id for intake in self._intakes if intake.id]))
        self._watch = await self._link.run(ops.writers())
        self._slept_at = self._tended_at = monotonic()
        for intake in self._intakes:
            intake.wet = True

    async def _rise(self) -> None:
        self.asleep, self._slept_at, self._watch = False, 0.0, frozenset()
        await self._as_told(rise())

    async def _as_told(self, op: Op[int]) -> None:
        answer = self._tell(op)
        if asyncio.iscoroutine(answer):
            await answer

    def _next_poll(self) -> float:
        """When something is due although nothing stirs (monotonic seconds)."""
        due = [self._look_at()]
        if self._watch or any(intake.floor.open for intake in self._intakes):
            due.append(max(self._tended_at + self._tend_seconds(), self._next_tend))
        return min(due)

    def _look_at(self) -> float:
        """When the next look is due (monotonic seconds): sooner than usual only if a worker is about to be dead."""
        pause = limits.POLL_IDLE_SECONDS * self._spread if self.asleep else limits.RESCUE_CHECK_SECONDS
        return min(self._looked_at + pause, self._lapse_at)

    def _looked(self, look: ops.Look, sent: float) -> None:
        """Take the answer of a look that was sent then (monotonic seconds)."""
        self._looked_at = sent
        self.looks += 1
        self._spread = jittered(1.1, 0.09)  # idle workers don't poll in step, nor more often than they may
        self._lapse_at = inf if look.lapses_in is None else sent + look.lapses_in + LAPSE_MARGIN_SECONDS
        for intake in self._intakes:
            intake.wet = intake.wet or intake.id in look.queues
        self._on_look(look)

    def _tend_seconds(self) -> float:
        lag = lag_seconds(self._me.living, limits.FLOOR_LAG_SECONDS_MIN, limits.FLOOR_LAG_SECONDS_PER_WORKER)
        slept = monotonic() - self._slept_at
        if self._watch and slept < WATCH_SECONDS:
            return jittered(min(0.02 + slept * 0.1, 0.1))
        return lag

    async def _upkeep(self) -> None:
        """What is due beside claiming: the floors, and the look."""
        now = monotonic()
        if (self._watch or any(intake.floor.open for intake in self._intakes)) and now >= max(
            self._tended_at + self._tend_seconds(), self._next_tend
        ):
            await self._tend()
        if self._look_next or now >= self._look_at():
            self._look_next, self._looked_at, self._lapse_at = False, now, inf
            floors = [intake.floor for intake in self._intakes]
            look = ops.look(floors, self._tasks, self._due.start, self._alarm.start)
            self._looked(await self._link.run(look), now)

    async def _tend(self) -> None:
        """List the writers; raise floors, sweep what lost a guard, and poll for those seen when falling asleep."""
        holders = await self._link.run(ops.writers())
        now = self._tended_at = monotonic()
        if self._watch - holders:
            self._watch &= holders
            for intake in self._intakes:
                intake.wet = True
        lag = lag_seconds(self._me.living, limits.FLOOR_LAG_SECONDS_MIN, limits.FLOOR_LAG_SECONDS_PER_WORKER)
        for intake in self._intakes:
            ranges = intake.floor.listed(holders, now, lag)
            if ranges and intake.floor.probed(await self._link.run(ops.probe(ranges))):
                intake.wet = True
        # Probing walks dead rows when a snapshot is held: no more than a tenth of the time goes into it.
        self._next_tend = monotonic() + 10 * (monotonic() - now)

    async def _recover(self) -> None:
        """After a lost connection, or a lost lease: it may lead to another server now, so floors start from nought, and
        the worker finds out what it holds."""
        for intake in self._intakes:
            intake.floor.reset()
            intake.wet = True
        self._due.reset()
        self._alarm.reset()
        self.recovering, self._taken = True, False
        answer = self._on_unknown()
        if asyncio.iscoroutine(answer):
            await answer
        self.recovering = False
