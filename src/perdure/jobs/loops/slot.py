"""One of a runner's places to run a job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from ..handler import Context, Handler
from ..work import Claimed


class Slot:
    """One place to run a job.

    ``stop`` is set with the reason when its job is told to end, ``told`` with the monotonic seconds when it last was,
    ``times`` with how often. ``cancelled``: its task has been, for its job or by it. ``queued``: its job, when it waits
    for a child process and its handler has not been called. ``ending``: its handler has ended, and what it leaves is
    being written (what it reached last, a transaction), which nothing stops any more. ``doing``: what of it runs just
    now, where that is known.
    """

    __slots__ = (
        "busy",
        "cancelled",
        "context",
        "deadline",
        "doing",
        "ending",
        "handler",
        "job",
        "lock",
        "queued",
        "stop",
        "task",
        "times",
        "told",
        "waiter",
    )

    def __init__(self) -> None:
        # A thread begins and ends its jobs while the loop looks for those to stop: one of the two ends each job.
        self.lock = threading.Lock()
        self.task: asyncio.Task[None] | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.job: Claimed | None = None
        self.handler: Handler | None = None
        self.context: Context | None = None
        self.deadline: float | None = None
        self.stop: str | None = None
        self.told, self.times = 0.0, 0
        self.queued: Claimed | None = None
        self.doing = ""
        self.busy = False
        self.ending = self.cancelled = False

    @property
    def running(self) -> bool:
        """Whether it has a job that can be told to stop, and hasn't been."""
        return self.job is not None and self.stop is None and not self.ending

    @property
    def stopping(self) -> bool:
        """Whether its job has been told to stop, and hasn't yet."""
        return self.stop is not None and self.job is not None and not self.ending

    @property
    def lost(self) -> bool:
        """Whether its job has ended without its handler, which goes on."""
        return self.busy and self.job is None and self.stop is not None

    def begin(self, job: Claimed, handler: Handler, deadline: float | None) -> None:
        """On a thread: this job runs here now, and nothing of the one before it is left."""
        with self.lock:
            self.handler, self.stop, self.job, self.context = handler, None, job, None
            self.deadline = deadline

    def gives(self, context: Context) -> Context:
        """What the job's handler is given hears of a stop, also of one that came before it."""
        self.context = context
        if self.stop is not None:
            context.cancel(stopped=True)
        return context

    def hears(self, reason: str) -> bool:
        """Tell the handler's context that it is to stop; whether the handler sees to it by itself."""
        asks = reason == "cancelled" and self.handler is not None and self.handler.asks
        if self.context is not None:
            self.context.cancel(stopped=not asks)
        return asks

    async def calm(self) -> bool:
        """The slot's task has been cancelled for its job's sake, or by its job, whose handler has ended: whatever comes
        after that knows nothing of it. A handler may have swallowed the cancellation, and what the next one runs under
        (a TaskGroup, a timeout) counts them. Whether the handler had ended before it was thrown."""
        self.cancelled = late = False
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            late = True
        while self.task is not None and self.task.cancelling():
            self.task.uncancel()
        return late


class SlotTask(asyncio.Task[None]):
    """A slot's task: it notes that it is cancelled, so that it needn't be asked after each job."""

    def __init__(self, work: Coroutine[Any, Any, None], slot: Slot) -> None:
        super().__init__(work)
        self._slot = slot

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel what runs in it."""
        self._slot.cancelled = True
        return super().cancel(msg)
