"""The journal: entries that many callers write at once, in few commits, each caller awaiting its own.

Entries are collected while the connection is busy and go out in one statement when it is free; there is no timer, so a
lone caller waits for nobody. A write must be idempotent: what failed for a passing reason, or with an unknown outcome,
is written again with the same values. Any other error halves the batch until the guilty entry stands alone, and only
its caller is told. An entry that somebody's lock is in the way of is put aside for a moment, so that it holds up no
other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ...core.errors import ServerUnavailable, TransientError
from ...core.op import Op
from ...runtime.dice import jittered
from .link import Link

E = TypeVar("E")
A = TypeVar("A")
log = logging.getLogger("perdure.journal")

PAUSE_SECONDS = 0.05
PAUSE_SECONDS_MAX = 1.0
ASIDE_SECONDS = 0.2
"""After how long an entry that was put aside is tried again."""


class _Waiting(Generic[E, A]):
    """An entry, and who waits for it."""

    __slots__ = ("caller", "entry")

    def __init__(self, entry: E, caller: asyncio.Future[A]) -> None:
        self.entry, self.caller = entry, caller

    def refuse(self, error: Exception) -> None:
        if not self.caller.done():  # otherwise it was cancelled; whether its entry was written is nobody's question
            self.caller.set_exception(error)


class Journal(Generic[E, A]):
    """Writes entries in groups, in the order in which they came.

    ``write`` makes the op for some entries: it returns their answers in the same order, and an answer that is an
    exception is raised to that caller alone, as an entry whose fence is stale is refused; a transient one puts the
    entry aside, behind what comes meanwhile. ``together``: the op has several statements, which commit as one.
    ``batch_max``: entries in one write.
    """

    def __init__(
        self,
        link: Link,
        write: Callable[[Sequence[E]], Op[Sequence[A | Exception]]],
        *,
        together: bool = False,
        batch_max: int = 500,
    ) -> None:
        self._send = link.transaction if together else link.run
        self._write, self._batch_max = write, batch_max
        self._pending: deque[_Waiting[E, A]] = deque()
        self._aside: set[_Waiting[E, A]] = set()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self.batches = self.written = 0

    async def put(self, entry: E) -> A:
        """Write the entry; it is durable when this returns its answer.

        Waits for a server that doesn't answer. Cancelled, the entry may have been written or not. Raises what the
        write has to say about this entry, or ServerUnavailable when the worker leaves before it was written.
        """
        if self._closed:
            raise _closed()
        waiting: _Waiting[E, A] = _Waiting(entry, self._loop.create_future())
        self._pending.append(waiting)
        self._wake.set()
        return await waiting.caller

    def put_from_thread(self, entry: E) -> A:
        """The same for a handler in a thread, which waits there."""
        return asyncio.run_coroutine_threadsafe(self.put(entry), self._loop).result()

    async def run(self) -> None:
        """Write until cancelled; then whoever still waits is told so."""
        batch: list[_Waiting[E, A]] = []
        try:
            while True:
                await self._wake.wait()
                batch = self._next()
                if batch:
                    await self._flush(batch)
                else:
                    self._wake.clear()
        finally:
            self._closed = True
            for waiting in (*batch, *self._pending, *self._aside):
                waiting.refuse(_closed())

    def _next(self) -> list[_Waiting[E, A]]:
        """The entries of the next write: those whose callers still wait."""
        batch: list[_Waiting[E, A]] = []
        while self._pending and len(batch) < self._batch_max:
            waiting = self._pending.popleft()
            if not waiting.caller.done():
                batch.append(waiting)
        return batch

    async def _flush(self, batch: Sequence[_Waiting[E, A]]) -> None:
        """Write these, whatever it takes, and tell each caller."""
        pause = PAUSE_SECONDS
        while True:
            try:
                answers = await self._send(self._write([waiting.entry for waiting in batch]))
                break
            except TransientError as error:
                log.warning("entries of the journal will be written again: %s", error)
            except Exception as error:
                if len(batch) == 1:
                    batch[0].refuse(error)
                    return
                middle = len(batch) // 2
                await self._flush(batch[:middle])
                await self._flush(batch[middle:])
                return
            await asyncio.sleep(jittered(pause))
            pause = min(pause * 2, PAUSE_SECONDS_MAX)
        self.batches += 1
        self.written += len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            if not isinstance(answer, Exception):
                if not waiting.caller.done():
                    waiting.caller.set_result(answer)
            elif isinstance(answer, TransientError):
                self._aside.add(waiting)
                self._loop.call_later(jittered(ASIDE_SECONDS), self._again, waiting)
            else:
                waiting.refuse(answer)

    def _again(self, waiting: _Waiting[E, A]) -> None:
        self._aside.discard(waiting)
        self._pending.append(waiting)
        self._wake.set()


def _closed() -> ServerUnavailable:
    return ServerUnavailable("the worker has left before this was written", fix="it runs again elsewhere")
