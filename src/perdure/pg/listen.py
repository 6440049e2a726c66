"""One LISTEN connection per worker. NOTIFY is the hurry, polling the truth: losing it costs latency only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg

from ..core.errors import DatabaseError
from ..core.op import Op
from .link import DRIVERS_RAISE, Link

R = TypeVar("R")
log = logging.getLogger("perdure.listen")


class Listener:
    """Keeps a listening session. ``on_notify`` gets each payload; ``on_connect`` is the op that restores the
    session's state; ``jittered`` spreads the pauses between attempts to connect, in seconds."""

    def __init__(
        self,
        url: str,
        schema: str,
        *,
        on_notify: Callable[[str], None],
        on_connect: Callable[[], Op[Any]],
        jittered: Callable[[float], float],
        who: str = "",
    ) -> None:
        self._link = Link(url, schema, "listen", who=who)
        self._jittered = jittered
        self._schema, self._on_notify, self._on_connect = schema, on_notify, on_connect
        self._conn: asyncpg.Connection[Any] | None = None
        self._lost = asyncio.Event()

    @property
    def up(self) -> bool:
        """Whether notifies arrive."""
        return self._conn is not None and not self._conn.is_closed()

    async def run(self) -> None:
        """Listen until cancelled; connect again when the connection is lost."""
        pause = 0.1
        while True:
            try:
                await self._connect()
                pause = 0.1
                await self._lost.wait()
                log.warning("the listener's connection is lost; polling until it is back")
            except (DatabaseError, *DRIVERS_RAISE, OSError) as error:
                log.warning("the listener can't connect, trying again: %s", error)
            self._conn = None
            await asyncio.sleep(self._jittered(pause))
            pause = min(pause * 2, 5.0)

    async def tell(self, op: Op[R]) -> R | None:
        """Drive an op on the listening session; None when there is none now (``on_connect`` restores its state)."""
        if not self.up:
            return None
        try:
            return await self._link.run(op)
        except DatabaseError:
            self._lost.set()
            return None

    async def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(DatabaseError):
            await self._link.close()

    async def _connect(self) -> None:
        self._lost.clear()
        conn = await self._link.connection()
        conn.add_termination_listener(lambda *_: self._lost.set())
        await conn.add_listener(self._schema, lambda _conn, _pid, _channel, payload: self._on_notify(str(payload)))
        self._conn = conn  # before what follows, so that what is told meanwhile is said after it and not left out
        await self._link.run(self._on_connect())
        self._on_notify("")
