"""The keeper: a worker's checkpoints. It saves what handlers have reached, and finds it for whoever runs the job next.

Only a job that has left a lease alive can have a checkpoint, and then its generation isn't 0. So only those are looked
up, and of them only those whose handler is given a context: a plain job never asks.
"""

from __future__ import annotations

import asyncio
import contextlib

from ...core import limits
from ..handler import Context, Handler
from ..ops.checkpoints import kept, save
from ..saves import Kept, Save, fitted
from ..work import Claimed, Extras
from .journal import Journal
from .link import Link


class Keeper:
    """Saves and finds checkpoints on one connection, which is opened by the first of them."""

    def __init__(self, link: Link) -> None:
        self._saves: Journal[Save, bool] = Journal(link, save, batch_max=limits.CHECKPOINT_BATCH_MAX)
        self._finds: Journal[int, Kept | None] = Journal(link, kept, batch_max=limits.CHECKPOINT_BATCH_MAX)

    async def run(self) -> None:
        """Save and find until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._saves.run())
            group.create_task(self._finds.run())

    async def save(self, entry: Save) -> bool:
        """Durable when this returns: whether its run has advanced. Raises OwnershipLost."""
        return await self._saves.put(entry)

    def save_from_thread(self, entry: Save) -> bool:
        """The same, for a handler in a thread."""
        return self._saves.put_from_thread(entry)

    async def restore(self, job: Claimed, handler: Handler) -> None:
        """Give the job what it has saved, in the form that the code wants. Raises Unfit when it can't have that."""
        if wants(job, handler):
            give(job, handler, await self._finds.put(job.id))

    def restore_from_thread(self, job: Claimed, handler: Handler) -> None:
        """The same, on a thread."""
        if wants(job, handler):
            give(job, handler, self._finds.put_from_thread(job.id))

    async def prepare(self, job: Claimed, handler: Handler) -> None:
        """The same for a job that goes to a child process, which may save something there."""
        await self.restore(job, handler)
        job.extras = job.extras or Extras()
        job.extras.sides = True

    async def last_word(self, given: Context | None, job: Claimed, handler: Handler) -> None:
        """Save what the handler reached last, before its end is judged and settled; learn what it has saved in a child
        process. Cancelled, as when the worker ends, it leaves it at that."""
        with contextlib.suppress(asyncio.CancelledError):
            if given is not None and given.unsaved:
                await given.akeep()
            elif handler.run_in == "process":
                await self._recount(job)

    async def _recount(self, job: Claimed) -> None:
        """Count the attempts from one again if the job has advanced in a child process, whose context is a copy."""
        found = await self._finds.put(job.id)
        if found is not None and found.advanced_in == job.generation:
            job.attempt = 1


def wants(job: Claimed, handler: Handler) -> bool:
    """Whether there may be a checkpoint that this handler could use."""
    return job.generation > 0 and handler.context is not None


def give(job: Claimed, handler: Handler, found: Kept | None) -> None:
    """Put what was found into the job's extras."""
    if found is None:
        return
    job.extras = job.extras or Extras()
    job.extras.sides = True
    job.extras.kept = fitted(found, handler.checkpoint_version, handler.checkpoint_upgrades)
