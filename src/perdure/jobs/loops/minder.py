"""The minder: handlers in child processes, one call at a time per child, which is killed when the call is cancelled.

The children are forked from a server that has imported the application (``runtime.nursery``). Those of process tasks
are kept for the next call; a suspect has one of its own, bounded in memory, whose end is the job's and nobody else's.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Any

from ...runtime import faults
from ...runtime.clock import monotonic
from ...runtime.nursery import Child, ChildEnded, Nursery
from ..handler import Context, Handler
from ..work import Claimed
from .child import Request, Returned, lent, serve
from .cleaner import Cleaner, in_child
from .slot import Slot

TRUST_PAUSE_SECONDS = 0.05
"""Between two looks whether the worker may start something again."""


class ChildFailed(Exception):
    """What a handler raised in its child: the text, since the exception itself may not travel."""


def cores() -> int:
    """How many children are worth running at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def encoded(value: object) -> str:
    """The result that a child has encoded. Raises what encoding it raised there."""
    assert isinstance(value, Returned)
    if value.refused is not None:
        raise value.refused
    return value.text


class Minder:
    """Minds the children of one worker. ``context`` makes what handlers are given, in the child. ``beside``: addresses
    of what runs there, too. ``first``: the module that was imported before those, and may have set up what they need.
    ``cleaner``: of the worker.
    """

    def __init__(
        self,
        handlers: Iterable[Handler],
        context: Callable[[Claimed], Context] = Context,
        beside: Iterable[str] = (),
        *,
        first: str | None = None,
        cleaner: Cleaner | None = None,
    ) -> None:
        self.context, self.cleaner = context, cleaner
        self.around = None if cleaner is None else in_child
        prepare = None if cleaner is None else cleaner.preparation()
        modules = {address.partition(":")[0] for address in (*(each.address for each in handlers), *beside) if address}
        served = f"{serve.__module__}:{serve.__name__}"
        self._nursery = Nursery(sorted(modules), served, first=first, prepare=prepare)
        self._kept: list[Child] = []
        self._turn = asyncio.Semaphore(cores())

    async def call(
        self,
        slot: Slot,
        job: Claimed,
        handler: Handler,
        timeout: float | None,
        trusted_until: Callable[[], float] = lambda: inf,
    ) -> Any:
        """Run a process task in a child that is kept. Raises what the handler raised, ChildFailed, or NoChild when the
        handler was never called.

        As many run at a time as there are cores, which are fewer than slots; the rest wait for their turn, and the
        time runs from when they have a child. Past ``trusted_until`` (monotonic seconds) none is started, however long
        it has waited: it may be somebody else's by then.
        """
        async with self._turn:
            child = await self._child()
            while monotonic() > trusted_until():
                await self._distrusted(child)
            slot.queued, job.started = None, monotonic()
            slot.deadline = None if timeout is None else job.started + timeout
            return await self._call(child, Request(handler.address, job, self.context, around=self.around))

    async def _distrusted(self, child: Child) -> None:
        """Wait a moment with a child that has nothing to do yet; it is kept for another call when the wait ends so."""
        try:
            await asyncio.sleep(TRUST_PAUSE_SECONDS)
        except BaseException:
            self._kept.append(child)
            raise

    async def call_step(self, address: str, job: Claimed) -> Any:
        """Run a process task as a step of a workflow, whose job is given with the step's arguments; when a child has
        its turn. Raises as ``call`` does."""
        async with self._turn:
            return await self._call(await self._child(), self._step(address, job))

    async def call_step_alone(self, address: str, job: Claimed, memory_bytes: int | None) -> Any:
        """The same for a run that is a suspect: in a child for this call only, which may allocate no more than that."""
        async with self._turn:
            child = await self._nursery.child()
            try:
                return await _ask(child, self._step(address, job, memory_bytes))
            except ChildEnded as error:
                raise ChildFailed(f"the child process {ended_how(error.code)} under the handler") from None
            finally:
                child.kill()

    async def _call(self, child: Child, request: Request) -> Any:
        try:
            value = await _ask(child, request)
        except ChildEnded as error:
            child.close()
            raise ChildFailed(f"the child process {ended_how(error.code)} under the handler") from None
        except asyncio.CancelledError:
            child.kill()
            raise
        except BaseException:
            self._kept.append(child)
            raise
        self._kept.append(child)
        return value

    async def alone(self, trusted_until: Callable[[], float] = lambda: inf) -> Child:
        """A child for one call, once the worker may start something, as in ``call``. Raises NoChild."""
        child = await self._nursery.child()
        while monotonic() > trusted_until():
            await self._distrusted(child)
        return child

    async def call_alone(
        self, child: Child, address: str, job: Claimed, timeout: float | None, memory_bytes: int | None
    ) -> Any:
        """Run a handler in that child, which ends with it. Raises ChildEnded, too."""
        request = Request(address, job, self.context, timeout, memory_bytes, self.around)
        try:
            return await _ask(child, request)
        finally:
            child.kill()

    async def close(self) -> None:
        """End them all."""
        await self._nursery.close()
        if self.cleaner is not None:
            await asyncio.to_thread(self.cleaner.close)

    def _step(self, address: str, job: Claimed, memory_bytes: int | None = None) -> Request:
        return Request(address, job, partial(lent, self.context), None, memory_bytes, self.around)

    async def _child(self) -> Child:
        while self._kept:
            child = self._kept.pop()
            if not child.ended:
                return child
            child.close()
        return await self._nursery.child()


async def _ask(child: Child, request: Request) -> Any:
    faults.point("child.before")
    return outcome(*pickle.loads(await child.ask(pickle.dumps(request))))


def outcome(ending: str, value: Any) -> Any:
    """What a call in a child has returned. Raises what it has raised there, or ChildFailed."""
    if ending == "returned":
        return value
    raise value if isinstance(value, BaseException) else ChildFailed(value)


def ended_how(code: int | None) -> str:
    """What an exit code says, for people."""
    if code is None:
        return "was lost"
    try:
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    except ValueError:
        return f"was killed by signal {-code}"
