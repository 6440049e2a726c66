"""The settler: ends are collected while its connection is busy and flushed when it is free; there is no timer.

An end counts when its flush has committed. Transient errors are settled again with the same values; they never run a
handler again and charge nobody. Any other error halves the flush until the guilty end stands alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ...core.errors import ConnectionLost, DatabaseError, TransientError
from ...core.op import Op
from ...runtime import faults
from ...runtime.dice import jittered
from ..ops.settle import generations, settle, traced
from ..work import End

R = TypeVar("R")
log = logging.getLogger("perdure.settle")


class Link(Protocol):
    """A connection that is made again when it breaks. ``transaction``: the op's statements commit together."""

    async def run(self, op: Op[R]) -> R:
        """Drive the op; each statement commits by itself."""
        ...

    async def transaction(self, op: Op[R]) -> R:
        """Drive the op in one transaction."""
        ...


class Settler:
    """Settles the ends of one worker. ``counts`` has what was settled, by verdict, and ``stale``."""

    FLUSH_MAX = 2_000
    """Ends in one flush: two full claims. More waits for the next one."""

    PENDING_MAX = 4_000
    """Ends that wait; past this the claimer claims nothing."""

    def __init__(self, link: Link, worker: Callable[[], int], on_flushed: Callable[[], None]) -> None:
        self._link, self._worker, self._on_flushed = link, worker, on_flushed
        self._pending: list[End] = []
        self._flushing: list[End] = []
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.counts: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Ends not committed yet."""
        return len(self._pending) + len(self._flushing)

    def end(self, end: End) -> None:
        """Take one end, to be settled soon. Call it on the event loop's thread."""
        self._pending.append(end)
        if len(self._pending) == 1:
            self._quiet.clear()
            self._wake.set()

    def unsettled_ids(self) -> set[int]:
        """The jobs that have ended here and are not committed yet."""
        return {end.job.id for end in self._pending} | {end.job.id for end in self._flushing}

    async def settled(self) -> None:
        """Wait until every end taken so far has been committed or found stale."""
        await self._quiet.wait()

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await self._wake.wait()
            ends, self._pending = self._pending[: self.FLUSH_MAX], self._pending[self.FLUSH_MAX :]
            if not ends:
                self._wake.clear()
                self._quiet.set()
                continue
            self._flushing = ends
            faults.point("settle.before_flush")
            await self._flush(ends, _emptied(ends))
            faults.point("settle.after_flush")
            self._flushing = []
            self._on_flushed()

    async def _flush(self, ends: list[End], emptied: Sequence[int]) -> None:
        """Settle these, whatever it takes; only a stopped worker leaves it undone."""
        doubtful, pause = False, 0.05
        while True:
            try:
                stale = await self._send(ends, emptied)
                if doubtful and stale:
                    settled = await self._link.run(traced(stale))
                    stale = [end for end in stale if end not in settled]
                break
            except ConnectionLost as error:
                doubtful = True
                log.warning("a settlement's outcome is unknown, settling again: %s", error)
            except TransientError as error:
                log.warning("a settlement will be repeated: %s", error)
            except DatabaseError as error:
                await self._split(ends, emptied, error)
                return
            await asyncio.sleep(jittered(pause))
            pause = min(pause * 2, 1.0)
        for end in ends:
            self.counts[end.verdict] += 1
        if stale:
            await self._report(stale)

    async def _send(self, ends: list[End], emptied: Sequence[int]) -> list[End]:
        op = settle(ends, self._worker(), emptied)
        alone = len({(end.verdict, end.job.generation, end.charge) for end in ends}) == 1
        return await (self._link.run(op) if alone else self._link.transaction(op))

    async def _split(self, ends: list[End], emptied: Sequence[int], error: DatabaseError) -> None:
        """One of these can't be stored. Alone, it becomes a failed attempt; its mates are settled without it."""
        if len(ends) > 1:
            middle = len(ends) // 2
            await self._flush(ends[:middle], ())
            await self._flush(ends[middle:], emptied)
            return
        end = ends[0]
        log.error("job %d can't be settled as %s: %s", end.job.id, end.verdict, error)
        if end.reason == "unsettleable":
            self.counts["unsettleable"] += 1
            return
        dead = End(end.job, "dead", 1, end.elapsed, text=f"its end can't be stored: {error}", reason="unsettleable")
        await self._flush([dead], emptied)

    async def _report(self, stale: list[End]) -> None:
        """Lost ownership is counted and logged with both generations; nothing was written, nothing is retried."""
        now = await self._link.run(generations([end.job.id for end in stale]))
        for end in stale:
            self.counts[end.verdict] -= 1
            self.counts["stale"] += 1
            log.warning(
                "stale: job %d was claimed as generation %d and is now %s; its %s end was refused",
                end.job.id,
                end.job.generation,
                now.get(end.job.id, "finished"),
                end.verdict,
            )


def _emptied(ends: Sequence[End]) -> list[int]:
    """The leases whose last job ends here. Counted once per end, when it is first flushed."""
    emptied: list[int] = []
    for end in ends:
        lease = end.job.lease
        lease.left -= 1
        if lease.left == 0:
            emptied.append(lease.id)
    return emptied
