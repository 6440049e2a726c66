"""The settler: ends are collected while its connection is busy and flushed when it is free; there is no timer.

An end counts when its flush has committed. Transient errors are settled again with the same values; they never run a
handler again and charge nobody. Any other error halves the flush until the guilty end stands alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager

from ...core.errors import ConnectionLost, DatabaseError, LockTimeout, StatementTimeout, TransientError
from ...core.telemetry import Histogram
from ...runtime import faults
from ...runtime.clock import monotonic
from ...runtime.dice import jittered
from .. import rules
from ..ops.settle import drop_leases, generations, held_leases, settle, settle_free, traced
from ..work import End, Lease
from . import ender
from .link import Link
from .pacer import Pacer

log = logging.getLogger("perdure.settle")

BLOCKED_SECONDS = 0.5
"""After how long ends whose jobs another transaction had locked are tried again."""


SAMPLES = 8
"""Handlers of one flush whose time is counted, at most."""


class Settler:
    """Settles the ends of one worker. ``counts`` has what was settled, by verdict, and ``stale``.

    ``leases``: those with a job in this process's hands, by id; one leaves it when its last end is committed.
    """

    FLUSH_MAX = 2_000
    """Ends in one flush: two full claims. More waits for the next one."""

    PENDING_MAX = 4_000
    """Ends that wait; past this the claimer claims nothing."""

    def __init__(
        self,
        link: Link,
        worker: Callable[[], int],
        leases: MutableMapping[int, Lease],
        on_flushed: Callable[[], None],
        pacer: Pacer,
    ) -> None:
        self._link, self._worker, self._leases, self._on_flushed = link, worker, leases, on_flushed
        self._pacer = pacer
        self._pending: list[End] = []
        self._sided: list[End] = []
        self._flushing: list[End] = []
        self._blocked: list[End] = []
        self._locked: set[int] = set()
        self._written: list[End] = []
        self._blocked_until = 0.0
        self._turns = 0
        self._cut = False
        self._still = asyncio.Lock()
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.flush_seconds, self.run_seconds = Histogram(), Histogram()
        self.counts: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Ends not committed yet."""
        return sum(map(len, (self._pending, self._sided, self._flushing, self._blocked, self._written)))

    def end(self, end: End) -> None:
        """Take one end, to be settled soon. Call it on the event loop's thread."""
        if end.written == "yes":
            self._written.append(end)
            self._quiet.clear()
            self._wake.set()
            return
        if faults.armed:  # asked here, because a call for each job would cost
            faults.point("run.after")
        if end.job.lease.lost:
            self._refuse(end)
            return
        extras = end.job.extras
        pending = self._pending if extras is None or not extras.sides else self._sided
        pending.append(end)
        if len(pending) == 1:
            self._quiet.clear()
            self._wake.set()
        if self._pacer.bounded:
            self._pacer.waits(self.waiting)

    @asynccontextmanager
    async def held_still(self) -> AsyncIterator[None]:
        """Between two flushes: what was settled is known, and nothing is settled until the end of the block."""
        async with self._still:
            yield

    def drop_lost(self) -> None:
        """Forget ends whose leases have been lost: their jobs are somebody else's. Call it while held still."""
        for ends in (self._pending, self._sided, self._blocked):
            for end in ends:
                if end.job.lease.lost:
                    self._refuse(end)
            ends[:] = [end for end in ends if not end.job.lease.lost]
        self._pacer.waits(self.waiting)

    def _refuse(self, end: End) -> None:
        """It is known without asking that its job is somebody else's."""
        self.counts["stale"] += 1
        self._locked.discard(end.job.id)
        ender.refuse(end, "has been given back since")

    def unsettled(self, leases: Iterable[Lease]) -> tuple[Counter[int], set[int]]:
        """How many jobs a server that is asked now may have in each of them, if it lacks nothing this worker was told,
        besides those of which it isn't known whether they are settled; and these."""
        doubtful = [end for end in (*self._pending, *self._sided) if end.written == "perhaps"] + self._blocked
        most = Counter({lease.id: lease.left for lease in leases})
        most.subtract(end.job.lease.id for end in (*doubtful, *self._written) if not end.job.lease.lost)
        return most, {end.job.id for end in (*doubtful, *self._flushing)}

    def lose_all(self) -> None:
        """Forget every lease: this worker begins anew, perhaps with a server that took over, and gives the same numbers
        again, the worker's own among them."""
        for lease in self._leases.values():
            lease.lost = True
        self._leases.clear()
        self.drop_lost()

    async def settled(self) -> None:
        """Wait until every end taken so far has been committed or found stale."""
        await self._quiet.wait()

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await self._wake.wait()
            async with self._still:
                while self._written:  # others come while these are noted
                    await self._note_written()
                ends, free = self._next()
                if not ends:
                    self._wake.clear()
                    if not self._blocked:
                        self._quiet.set()
                    continue
                self._flushing = ends
                sent = monotonic()
                await self._flush(ends, _emptied(ends), free)
                self._timed(ends, monotonic() - sent)
                self._flushing = []
            self._pacer.waits(self.waiting)
            self._on_flushed()

    def _timed(self, ends: Sequence[End], seconds: float) -> None:
        """How long the flush took, and a few of its handlers: the same cost however many there are."""
        self.flush_seconds.observe(seconds)
        for end in ends[:: len(ends) // SAMPLES + 1]:
            if end.elapsed is not None:
                self.run_seconds.observe(end.elapsed)

    async def _note_written(self) -> None:
        """Jobs that their handlers' transactions have settled: only their leases are left to see to."""
        ends, self._written = self._written, []
        for end in ends:
            self.counts[end.verdict] += 1
        emptied = _emptied(ends)
        try:
            if emptied and self._cut:
                await self._held(())
                self._cut = False
            if emptied := [lease for lease in emptied if not lease.lost]:
                await self._link.run(drop_leases([lease.id for lease in emptied]))
        except TransientError as error:
            self._cut = True
            log.warning("leases without jobs are left for the rescue: %s", error)
        else:
            for lease in emptied:
                self._leases.pop(lease.id, None)

    def _next(self) -> tuple[list[End], bool]:
        """The ends of the next flush, and whether it must leave alone what somebody else has locked."""
        if self._blocked and monotonic() >= self._blocked_until:
            ends = self._blocked[: self.FLUSH_MAX]
            del self._blocked[: self.FLUSH_MAX]
            return ends, True
        # Those with rows in side tables apart: their flush is a transaction of several statements.
        self._turns += 1
        pending = self._sided if self._sided and (self._turns % 2 or not self._pending) else self._pending
        ends = pending[: self.FLUSH_MAX]
        del pending[: self.FLUSH_MAX]
        return ends, False

    async def _flush(
        self, ends: list[End], emptied: Sequence[Lease], free: bool = False, doubtful: bool = False
    ) -> None:
        """Settle these, whatever it takes; only a stopped worker leaves it undone.

        ``free``: those whose jobs another transaction has locked are put aside, so that it holds up nobody else.
        ``doubtful``: they have been sent before, and whether that has settled them isn't known; or the server that
        answers now may be another one.
        """
        # What was put aside has been sent before, perhaps by a transaction that commits only now.
        doubtful, self._cut = doubtful or free or self._cut, False
        pause = 0.05
        while True:
            try:
                stale, blocked = await self._tried(ends, emptied, free, doubtful)
                break
            except ConnectionLost as error:
                doubtful = True
                log.warning("a settlement's outcome is unknown, settling again: %s", error)
            except LockTimeout as error:
                log.warning("a settlement waited for another transaction's lock, going on without it: %s", error)
                if not free:
                    free = True
                    continue
                if len(ends) > 1:  # what it waits for isn't looked for beforehand: find whose end it is
                    await self._halve(ends, emptied, doubtful, free=True)
                    return
                stale, blocked = [], ends
                break
            except StatementTimeout as error:
                log.warning("a settlement took too long, going on with less at a time: %s", error)
                if len(ends) > 1:
                    await self._halve(ends, emptied, doubtful)
                    return
            except TransientError as error:
                log.warning("a settlement will be repeated: %s", error)
            except DatabaseError as error:
                await self._split(ends, emptied, error, doubtful)
                return
            await asyncio.sleep(jittered(pause))
            pause = min(pause * 2, 1.0)
        self._flushing = self._flushing[len(ends) :]  # halves are settled in their order
        unsure = list[End]()
        for end in ends:
            self.counts[end.verdict] += 1
            if end.written == "perhaps":
                unsure.append(end)
        if blocked or self._locked:
            self._put_aside(blocked, ends)
        for lease in emptied:
            if lease.left == 0 and not lease.lost:
                self._leases.pop(lease.id, None)
        for end in unsure:
            if (end.charge or end.verdict == "snooze") and end not in stale and end not in blocked:
                ender.tell(end)
        if stale:
            await self._report(stale)

    async def _tried(
        self, ends: list[End], emptied: Sequence[Lease], free: bool, doubtful: bool
    ) -> tuple[list[End], list[End]]:
        """Send them once: the stale ends, and those whose jobs another transaction has locked."""
        # A lease isn't empty any more when one of its ends has been put aside meanwhile.
        empty = [lease.id for lease in emptied if lease.left == 0]
        gone, stale, blocked = list[End](), list[End](), list[End]()
        if doubtful:
            # It may be another server that answers now. Where the lease isn't known, the job's generation says nothing.
            held = await self._held(ends)
            gone = [end for end in ends if end.job.lease.lost]
            ends = [end for end in ends if not end.job.lease.lost]
            empty = [id for id in empty if id in held]
        faults.point("settle.before_flush")
        if ends and free:
            op = settle_free(ends, self._worker(), empty, sides=_sided(ends))
            stale, blocked = await self._link.transaction(op)
        elif ends:
            stale = await self._send(ends, empty)
        faults.point("settle.after_flush")
        stale += gone
        if stale and (doubtful or any(end.written == "perhaps" for end in stale)):
            stale = await self._untraced(stale, doubtful)
        return stale, blocked

    async def _held(self, ends: Sequence[End]) -> set[int]:
        """Which of the leases of these ends, and of whatever else it has in hand, the worker still has as it knows
        them. The others are lost: what hasn't been sent of their jobs' ends never is.

        A server that took over may have a lease, and lack what was settled of it: then more jobs are in it than have
        not ended. To drop it with its last end would leave those nowhere; the recoverer gives back all of it."""
        leases = {end.job.lease.id: end.job.lease for end in ends} | dict(self._leases)
        most, unsure = self.unsettled(leases.values())
        jobs = await self._link.run(held_leases(leases, self._worker(), unsure))
        held = set[int]()
        for id, lease in leases.items():
            if id not in jobs:
                self._leases.pop(id, None)
                lease.lost = True
            elif lease.lost or jobs[id] > most[id]:
                lease.lost = True
            else:
                held.add(id)
        self.drop_lost()
        return held

    async def _untraced(self, stale: Sequence[End], doubtful: bool) -> list[End]:
        """Those that were not settled by us. What a handler's own transaction has settled has completed, whatever its
        worker came to think of it; where the worker itself may have settled it (``doubtful``), it is told as ever."""
        settled = await self._link.run(traced(stale))
        for end in settled:
            if end.written == "perhaps":
                self.counts[end.verdict] -= 1
                self.counts["completed"] += 1
                if not doubtful:
                    end.written = "yes"
                    ender.tell_late(end)
        return [end for end in stale if end not in settled]

    def _put_aside(self, blocked: list[End], ends: Iterable[End]) -> None:
        """Of these ends, try the blocked ones again soon. They haven't ended yet, so their leases aren't empty yet."""
        before = self._locked
        self._locked = before.difference(end.job.id for end in ends).union(end.job.id for end in blocked)
        for end in blocked:
            self.counts[end.verdict] -= 1
            end.job.lease.left += 1
            if end.job.id not in before:
                log.warning(
                    "job %d is locked by another transaction: its end waits", end.job.id, extra={"claimed": end.job}
                )
        if not blocked:
            return
        self._blocked += blocked
        pause = jittered(BLOCKED_SECONDS)
        self._blocked_until = monotonic() + pause
        asyncio.get_running_loop().call_later(pause, self._wake.set)

    async def _send(self, ends: list[End], emptied: Sequence[int]) -> list[End]:
        sides = _sided(ends[:1])  # apart from those that were put aside, a flush has only such ends, or none
        op = settle(ends, self._worker(), emptied, sides=sides)
        several = sides or rules.several(ends)
        return await (self._link.transaction(op) if several else self._link.run(op))

    async def _halve(self, ends: list[End], emptied: Sequence[Lease], doubtful: bool, free: bool = False) -> None:
        middle = len(ends) // 2
        # The leases stay until the last half: their jobs may stand in either.
        await self._flush(ends[:middle], (), free, doubtful)
        await self._flush(ends[middle:], emptied, free, doubtful)

    async def _split(self, ends: list[End], emptied: Sequence[Lease], error: DatabaseError, doubtful: bool) -> None:
        """One of these can't be stored. Alone, it becomes a failed attempt; its mates are settled without it."""
        if len(ends) > 1:
            await self._halve(ends, emptied, doubtful)
            return
        end = ends[0]
        if rules.has_follow_ups(end.job) and end.job.extras is not None and end.job.extras.options is not None:
            del end.job.extras.options["follow_ups"]  # a sweep sees to them; this end must not wait for it
            log.warning("job %d is settled without its follow-ups, which a sweep enqueues: %s", end.job.id, error)
            await self._flush([end], emptied, doubtful=doubtful)
            return
        log.error("job %d can't be settled as %s: %s", end.job.id, end.verdict, error, extra={"claimed": end.job})
        if end.reason == "unsettleable":
            self.counts["unsettleable"] += 1
            end.job.lease.left += 1  # it hasn't ended
            return
        dead = End(end.job, "dead", 1, end.elapsed, text=f"its end can't be stored: {error}", reason="unsettleable")
        await self._flush([dead], emptied, doubtful=doubtful)

    async def _report(self, stale: list[End]) -> None:
        """Lost ownership is counted and logged with both generations; nothing was written, nothing is retried."""
        try:
            now: Mapping[int, int | str] = await self._link.run(generations([end.job.id for end in stale]))
        except DatabaseError as error:
            self._cut = True
            log.warning("what became of %d stale jobs isn't known: %s", len(stale), error)
            now = dict.fromkeys((end.job.id for end in stale), "unknown")
        for end in stale:
            self.counts[end.verdict] -= 1
            self.counts["stale"] += 1
            ender.refuse(end, f"is now {now.get(end.job.id, 'finished')}")


def _sided(ends: Sequence[End]) -> bool:
    """Whether some of these have rows in side tables."""
    return any(end.job.extras is not None and end.job.extras.sides for end in ends)


def _emptied(ends: Sequence[End]) -> list[Lease]:
    """The leases whose last job ends here. Counted once per end, when it is first flushed."""
    emptied: list[Lease] = []
    for end in ends:
        lease = end.job.lease
        lease.left -= 1
        if lease.left == 0:
            emptied.append(lease)
    return emptied
