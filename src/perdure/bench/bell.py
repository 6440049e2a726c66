"""The floor of a wake-up: a plain row and a plain NOTIFY in one commit, and a session that listens for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from ..runtime.clock import monotonic
from . import ops
from .floor import Floor
from .stage import Stage

PLAIN_NOTIFY = "plain INSERT + NOTIFY, commit to listener"
HEARD_SECONDS = 30.0


class Bell:
    """Rings through Postgres, and hears itself."""

    def __init__(self, stage: Stage, floor: Floor) -> None:
        self._stage, self._payload = stage, floor.payload
        self._heard: asyncio.Future[float] | None = None
        self._rung = 0
        self.samples: list[float] = []
        """Milliseconds from the sending of the commit to the listener."""

    async def ring(self) -> None:
        """Once more."""
        self._heard = asyncio.get_running_loop().create_future()
        self._rung += 1
        with self._stage.conn.transaction():
            self._stage.run(ops.add_floor(-self._rung, self._payload))
            self._stage.run(ops.ring(channel(self._stage), str(self._rung)))
            sent = monotonic()
        self.samples.append((await asyncio.wait_for(self._heard, HEARD_SECONDS) - sent) * 1e3)

    def hear(self, conn: Any, pid: int, channel: str, payload: object) -> None:
        """What asyncpg calls."""
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(monotonic())


def channel(stage: Stage) -> str:
    """Not the schema's own name, on which its workers listen."""
    return f"{stage.schema}_bell"


@asynccontextmanager
async def hung(stage: Stage, floor: Floor) -> AsyncIterator[Bell]:
    """A bell with somebody who listens."""
    bell = Bell(stage, floor)
    async with stage.plain() as conn:
        listener: asyncpg.Connection[Any] = conn
        await listener.add_listener(channel(stage), bell.hear)
        yield bell
        await listener.remove_listener(channel(stage), bell.hear)
    stage.run(ops.empty_floor([-number for number in range(1, len(bell.samples) + 1)]))
