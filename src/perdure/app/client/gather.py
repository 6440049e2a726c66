"""Many callers, one statement: what arrives while a statement is under way goes out together with the next one.

There is no timer: a lone caller waits for nobody. When Postgres refuses a statement nothing of it was written, so it is
halved until the guilty job stands alone, and only its caller is told. What no job is guilty of is told to all.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence

from ...core.errors import ConfigError, OutcomeUnknown, PerdureError, TransientError
from ...jobs.model import JobSpec
from ...jobs.ops.enqueue import CHARS_MAX
from ...runtime import faults

BATCH_MAX = 1_000
"""Jobs in one gathered statement."""


def _first(sizes: Iterable[int]) -> int:
    """How many of the waiting go out together. It must be one statement: what a second one refuses would leave the
    first one written."""
    count = chars = 0
    for size in sizes:
        chars += size
        if count and (count == BATCH_MAX or chars > CHARS_MAX):
            break
        count += 1
    return count


class _Entry:
    """One caller's job and what became of it."""

    __slots__ = ("error", "id", "leads", "spec", "turn")

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.id = 0
        self.error: BaseException | None = None
        self.leads = False
        # A bare lock, held until there is news: an Event costs three times as much, and there is one per job.
        self.turn = threading.Lock()
        self.turn.acquire()


class Gathering:
    """Gathers the callers of a process's threads. ``write`` sends one statement, and commits it.

    The first caller sends, and whoever has arrived meanwhile waits; then the first of those sends for all of them. So
    no thread of our own is needed, and nobody sends for others more than once per job of theirs.
    """

    def __init__(self, write: Callable[[Sequence[JobSpec]], list[int]]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._waiting: list[_Entry] = []
        self._busy = False

    def enqueue(self, spec: JobSpec) -> int:
        """The id of the job, once it is committed. Raises what writing it raised."""
        entry = _Entry(spec)
        with self._lock:
            self._waiting.append(entry)
            entry.leads, self._busy = not self._busy, True
        try:
            if not entry.leads:
                entry.turn.acquire()
            if entry.leads:
                self._send()
        finally:
            self._pass_on(entry)
        if entry.error is not None:
            raise entry.error
        return entry.id

    def _send(self) -> None:
        with self._lock:
            count = _first(len(entry.spec.payload) for entry in self._waiting)
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
        try:
            self._settle(batch)
        except BaseException:  # the sender was interrupted, and the others have to hear of it
            for entry in batch:
                if not entry.id and entry.error is None:
                    entry.error = OutcomeUnknown(
                        "the thread that was sending this job was interrupted; whether it is written is unknown",
                        fix="look for the job before enqueueing it again",
                    )
            raise
        finally:
            for entry in batch:
                if not entry.leads:
                    entry.turn.release()

    def _settle(self, batch: Sequence[_Entry]) -> None:
        try:
            faults.point("gather.before")
            ids = self._write([entry.spec for entry in batch])
            faults.point("gather.after")
        except (TransientError, ConfigError) as error:
            for entry in batch:
                entry.error = _own(error)
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            middle = len(batch) // 2
            self._settle(batch[:middle])
            self._settle(batch[middle:])
        else:
            for entry, id in zip(batch, ids, strict=True):
                entry.id = id

    def _pass_on(self, entry: _Entry) -> None:
        """Let the next caller send, when this one has done so; also when it was interrupted while it waited."""
        with self._lock:
            if entry in self._waiting:
                self._waiting.remove(entry)
            if not entry.leads:
                return
            self._busy = bool(self._waiting)
            if self._busy:
                self._waiting[0].leads = True
                self._waiting[0].turn.release()


class AsyncGathering:
    """Gathers the tasks of one event loop. ``write`` sends one statement, and commits it."""

    def __init__(self, write: Callable[[Sequence[JobSpec]], Awaitable[list[int]]]) -> None:
        self._write = write
        self._waiting: list[tuple[JobSpec, asyncio.Future[int]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def enqueue(self, spec: JobSpec) -> int:
        """The id of the job, once it is committed. Raises what writing it raised."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[int] = loop.create_future()
        self._waiting.append((spec, told))
        if self._sender is None:
            # A task of its own: a caller who is cancelled must not take along what it sends for others.
            self._sender = loop.create_task(self._send())
        return await told

    async def idle(self) -> None:
        """Return when everything that was asked for is written."""
        if self._sender is not None:
            await asyncio.wait([self._sender])

    async def _send(self) -> None:
        try:
            while self._waiting:
                count = _first(len(spec.payload) for spec, _ in self._waiting)
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
                await self._settle([entry for entry in batch if not entry[1].done()])
        finally:
            self._sender = None
            for _, told in self._waiting:  # only when the loop is being closed under us
                told.cancel()

    async def _settle(self, batch: Sequence[tuple[JobSpec, asyncio.Future[int]]]) -> None:
        if not batch:
            return
        try:
            faults.point("gather.before")
            ids = await self._write([spec for spec, _ in batch])
            faults.point("gather.after")
        except (TransientError, ConfigError) as error:
            for _, told in batch:
                _tell(told, _own(error))
        except Exception as error:
            if len(batch) == 1:
                _tell(batch[0][1], error)
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
        except asyncio.CancelledError:
            for _, told in batch:
                told.cancel()
            raise
        else:
            for (_, told), id in zip(batch, ids, strict=True):
                if not told.done():
                    told.set_result(id)


def _tell(told: asyncio.Future[int], error: Exception) -> None:
    if not told.done():
        told.set_exception(error)


def _own(error: PerdureError) -> PerdureError:
    """A copy for one caller: an exception that several raise would gather all their tracebacks."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own
