"""Transactions that commit long after their insert, while others come and go: how soon their jobs start then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from ..jobs.model import JobSpec
from ..jobs.ops.enqueue import enqueue
from ..pg.drive import apg
from ..runtime.clock import monotonic
from ..runtime.dice import roll
from . import ops
from .bell import Bell
from .process import Crew
from .stage import Stage
from .tasks import noops, stamp

SESSIONS = 4
OPEN_SECONDS = (0.5, 2.5)
ROLLED_BACK = 5
"""Every fifth is."""

OTHER_SESSIONS = 4
OTHER_SECONDS = (0.3, 1.0)
FEED_ROWS = 50
FEED_SECONDS = 0.025
RING_SECONDS = 0.1


class Bustle:
    """What goes on meanwhile: a steady feed of jobs, sessions in transactions of 0.3 to 1 s of which every second one
    enqueues, and the stragglers, of which some roll back."""

    def __init__(self, stage: Stage, bell: Bell) -> None:
        self._stage, self._bell = stage, bell
        self._over = asyncio.Event()
        self.committed = 0
        """Jobs, of all kinds."""
        self.sent: dict[int, float] = {}
        """When the commit of each straggler was sent, by its number (monotonic seconds)."""

    async def run(self, numbers: range) -> None:
        """Until every straggler of these numbers has ended one way or the other."""
        left, first = iter(numbers), numbers.start
        async with AsyncExitStack() as connections:
            conns = [
                await connections.enter_async_context(self._stage.plain()) for _ in range(SESSIONS + OTHER_SESSIONS + 1)
            ]
            stragglers, others, feeder = conns[:SESSIONS], conns[SESSIONS:-1], conns[-1]
            async with asyncio.TaskGroup() as beside:
                beside.create_task(self._feed(feeder))
                beside.create_task(self._ring())
                for number, conn in enumerate(others):
                    beside.create_task(self._come_and_go(conn, enqueues=number % 2 == 0))
                async with asyncio.TaskGroup() as late:
                    for conn in stragglers:
                        late.create_task(self._straggle(conn, left, first))
                self._over.set()

    async def _straggle(self, conn: asyncpg.Connection[Any], left: Iterator[int], first: int) -> None:
        for number in left:
            spec = stamp.job(n=number)
            transaction = conn.transaction()
            await transaction.start()
            await self._enqueue(conn, [spec])
            await asyncio.sleep(between(OPEN_SECONDS))
            if (number - first) % ROLLED_BACK == ROLLED_BACK - 1:
                await transaction.rollback()
                continue
            self.sent[number] = monotonic()
            await transaction.commit()
            self.committed += 1

    async def _come_and_go(self, conn: asyncpg.Connection[Any], *, enqueues: bool) -> None:
        (spec,) = noops(1)
        while not self._over.is_set():
            async with conn.transaction():
                if enqueues:
                    await self._enqueue(conn, [spec])
                else:
                    await apg(conn, ops.hold(), self._stage.schema)
                await asyncio.sleep(between(OTHER_SECONDS))
            self.committed += enqueues

    async def _feed(self, conn: asyncpg.Connection[Any]) -> None:
        specs = noops(FEED_ROWS)
        while not self._over.is_set():
            await self._enqueue(conn, specs)
            self.committed += FEED_ROWS
            await asyncio.sleep(FEED_SECONDS)

    async def _ring(self) -> None:
        while not self._over.is_set():
            await self._bell.ring()
            await asyncio.sleep(RING_SECONDS)

    async def _enqueue(self, conn: asyncpg.Connection[Any], specs: list[JobSpec]) -> None:
        await apg(conn, enqueue(specs), self._stage.schema)


async def straggle(stage: Stage, hired: Crew, bell: Bell, first: int, count: int) -> tuple[list[float], int]:
    """From commit to start in milliseconds, of those that committed; and how many jobs were committed in all.

    ``count`` stragglers are numbered from ``first`` on; no other stamped job of the crew's workers may be.
    """
    bustle = Bustle(stage, bell)
    await bustle.run(range(first, first + count))
    started = await hired.stamped(list(bustle.sent))
    return [(started[number] - sent) * 1e3 for number, sent in bustle.sent.items()], bustle.committed


def between(bounds: tuple[float, float]) -> float:
    """Something between them."""
    least, most = bounds
    return least + (most - least) * roll()
