"""The finder: the numbers of the queues a worker serves. One that an open transaction is making holds up nothing
else: the worker begins without it, and works on it, too, as soon as it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Container, Iterable

from ...core.errors import DatabaseError, LockTimeout
from ...runtime.dice import jittered
from ..ops import queues
from .link import Link

log = logging.getLogger("perdure.worker")

LOOK_SECONDS = 1.0
"""How often queues that are being made are looked for; to look waits for nobody."""

LOOKS_PER_MAKE = 30
"""How often, in looks, it tries to make them itself, should whoever was making them have rolled back. That one may wait
for as long as the lock timeout, on a connection that others need."""


class Finder:
    """Finds the rows of queues, and makes those that are missing. ``declare`` writes what is declared of those named;
    ``on_found`` is given the name and number of each that was found only after ``begin``."""

    def __init__(
        self,
        link: Link,
        names: Iterable[str],
        declare: Callable[[Container[str]], Awaitable[None]],
        on_found: Callable[[str, int], Awaitable[None]],
    ) -> None:
        self._link, self._declare, self._on_found = link, declare, on_found
        self._missing = sorted(set(names))

    async def begin(self) -> dict[str, int]:
        """The numbers of those that are there, or could be made without waiting for somebody's transaction."""
        ids = await self._link.run(queues.find(self._missing))
        if len(ids) < len(self._missing):
            with contextlib.suppress(LockTimeout):  # one of them is being made: see run, which takes them singly
                ids = await self._link.run(queues.ensure(self._missing))
        await self._declare(ids)
        self._missing = [name for name in self._missing if name not in ids]
        return ids

    async def run(self) -> None:
        """Look for those that are missing until all are there, or cancelled."""
        looks, told = 0, set[str]()
        while self._missing:
            for name in list(self._missing):
                op = queues.find if looks % LOOKS_PER_MAKE else queues.ensure
                try:
                    if found := await self._link.run(op([name])):
                        await self._found(name, found[name])
                except LockTimeout:
                    if name not in told:
                        log.warning(
                            "the queue %s is being made by another open transaction: its jobs wait until that has "
                            "ended; this worker works on its other queues meanwhile",
                            name,
                        )
                    told.add(name)
                except DatabaseError as error:
                    log.warning("the queue %s will be looked for again: %s", name, error)
            looks += 1
            await asyncio.sleep(jittered(LOOK_SECONDS))

    async def _found(self, name: str, id: int) -> None:
        """Not missing any more once all that follows has been done."""
        await self._declare({name})
        await self._on_found(name, id)
        self._missing.remove(name)
        log.info("the queue %s is there now, and is worked on", name)
