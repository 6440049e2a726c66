"""The floor: what the machine does when it is asked for nothing but the rows themselves.

It is measured with asyncpg, the faster driver, and with no more than the statements: a queue can't do with less.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from ..pg.drive import apg
from ..runtime.clock import monotonic
from . import ops
from .figures import PlainRates, middle
from .machine import busy, ticks
from .stage import Stage
from .tasks import noops

BATCH = 1_000
ROWS = 10_000
"""What a benchmark that isn't about rates measures the floor with."""

BOTH = "plain INSERT + DELETE in thousands"
INSERT = "plain INSERT in thousands"


class Floor:
    """The plain rows of one run, measured in rounds between what is compared with them."""

    def __init__(self, stage: Stage, connections: Sequence[asyncpg.Connection[Any]]) -> None:
        self._stage, self._connections = stage, connections
        self._inserts: list[float] = []
        self._deletes: list[float] = []
        self.payload = noops(1)[0].payload
        self.busy: list[float] = []
        """The shares of the cores' time that the rounds took."""

    async def measure(self, rows: int = ROWS) -> float:
        """One round: that many rows in, what a backlog would see in between, and out; rows a second."""
        before = ticks()
        insert = await self.insert(rows)
        share = busy(before, ticks())
        self._stage.settle_down()
        delete = await self._delete(self._connections[0], range(rows))
        self._inserts.append(insert / rows)
        self._deletes.append(delete / rows)
        if share is not None:
            self.busy.append(share)
        return rows / (insert + delete)

    async def time(self, rows: int) -> float:
        """Seconds for that many rows, in and out at once; for what is compared with a span."""
        insert = await self.insert(rows)
        return insert + await self._delete(self._connections[0], range(rows))

    async def insert(self, rows: int, batch: int = BATCH) -> float:
        """Put rows in, ``batch`` in each statement; how long it took (seconds)."""
        return await self._insert(self._connections[0], range(rows), batch)

    async def empty(self, rows: int) -> None:
        """Take out what ``insert`` has put in."""
        await self._delete(self._connections[0], range(rows))

    async def measure_together(self, rows: int) -> float:
        """The same on two connections at once, half of the rows each; rows a second."""
        halves = (range(rows // 2), range(rows // 2, rows))
        began = monotonic()
        await self._both(lambda conn, ids: self._insert(conn, ids, BATCH), halves)
        insert = monotonic() - began
        self._stage.settle_down()
        began = monotonic()
        await self._both(self._delete, halves)
        return rows / (insert + monotonic() - began)

    @property
    def rate(self) -> float:
        """Rows a second, inserted and deleted: the median of the rounds."""
        return 1 / middle([insert + delete for insert, delete in zip(self._inserts, self._deletes, strict=True)])

    @property
    def insert_rate(self) -> float:
        """Rows a second, inserted."""
        return 1 / middle(self._inserts)

    @property
    def rates(self) -> PlainRates:
        """Everything, as a value."""
        return PlainRates(self.insert_rate, 1 / middle(self._deletes), self.rate, BATCH, len(self.payload.encode()))

    async def _both(self, act: Any, halves: Sequence[range]) -> None:
        await asyncio.gather(*(act(conn, ids) for conn, ids in zip(self._connections, halves, strict=True)))

    async def _insert(self, conn: asyncpg.Connection[Any], ids: range, batch: int) -> float:
        began = monotonic()
        for start in range(0, len(ids), batch):
            part = list(ids[start : start + batch])
            await apg(conn, ops.fill_floor(part, [self.payload] * len(part)), self._stage.schema)
        return monotonic() - began

    async def _delete(self, conn: asyncpg.Connection[Any], ids: range) -> float:
        began = monotonic()
        for start in range(0, len(ids), BATCH):
            await apg(conn, ops.empty_floor(list(ids[start : start + BATCH])), self._stage.schema)
        return monotonic() - began


@asynccontextmanager
async def floored(stage: Stage) -> AsyncIterator[Floor]:
    """The floor on connections of its own, its statements prepared and its table touched once."""
    async with stage.plain() as first, stage.plain() as second:
        floor = Floor(stage, (first, second))
        await floor.insert(BATCH)
        await floor.empty(BATCH)
        yield floor
