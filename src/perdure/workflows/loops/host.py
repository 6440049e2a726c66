"""The host: has one run driven in a child of this worker, and does for it whatever touches Postgres.

A run that is a suspect is driven so (``jobs.loops.isolator``). What it records goes the way of all records, so that
fences, group commit and connections are those of the worker's own runs.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any, TypeAlias

from ...core import limits
from ...core.context import enter
from ...jobs.handler import Context
from ...jobs.loops.child import portable
from ...jobs.loops.minder import ChildFailed, outcome
from ...runtime.clock import monotonic
from ...runtime.nursery import Child, ChildEnded
from ..talk import Answer, Ask, Began, Drop, Ended, Told
from .lodger import RunRequest
from .provider import Provider

Watch: TypeAlias = Callable[[float | None, str], None]
"""Is told until when (monotonic seconds) the child may be silent, and what it does."""

TELL_SECONDS = 0.1
"""Between two looks whether there is something to tell the child."""

LAST_RECORDS_SECONDS = 5.0
"""How long what a child had asked for before it ended may take."""


class Host:
    """Hosts one run. ``given``: what its job's handler is given in the worker, which hears of a cancel."""

    def __init__(
        self, provider: Provider, child: Child, given: Context, memory_bytes: int | None, watch: Watch
    ) -> None:
        self._provider, self._child, self._given, self._watch = provider, child, given, watch
        self._memory_bytes = memory_bytes
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._calls: dict[int, tuple[float, str]] = {}
        self._telling: asyncio.Task[None] | None = None

    async def run(self, request: RunRequest) -> Any:
        """How the run's job ends. Raises ChildEnded, MemoryError, or what the child couldn't help."""
        self._look()
        await self._child.send(pickle.dumps(request))
        try:
            while True:
                said = pickle.loads(await self._child.receive())
                if isinstance(said, tuple):
                    return outcome(*said)
                self._hear(said)
                self._look()
        except ChildEnded:
            if self._asked:  # what was done before, or beside, what ended the child isn't done again
                await asyncio.wait(self._asked.values(), timeout=LAST_RECORDS_SECONDS)
            raise
        finally:
            await self._leave()

    async def _leave(self) -> None:
        left = [*self._asked.values(), *([self._telling] if self._telling else [])]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    def _hear(self, said: Ask | Drop | Began | Ended) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(said, Ask):
            # Only now: its child reads what comes after the request when it has got so far.
            self._telling = self._telling or loop.create_task(self._tell())
            self._asked[said.number] = loop.create_task(self._answer(said))
        elif isinstance(said, Drop):
            if (task := self._asked.get(said.number)) is not None:
                task.cancel()
        elif isinstance(said, Began):
            span = limits.SUSPECT_SECONDS if said.timeout is None else said.timeout + limits.SUSPECT_GRACE_SECONDS
            self._calls[said.number] = (monotonic() + span, said.address)
        else:
            self._calls.pop(said.number, None)

    def _look(self) -> None:
        """What runs in the child has its time; code between steps, too; while it waits for an answer it has any."""
        if self._calls:
            doing = ", ".join(sorted({address for _, address in self._calls.values()}))
            self._watch(min(until for until, _ in self._calls.values()), doing)
        else:
            self._watch(None if self._asked else monotonic() + limits.SUSPECT_SECONDS, "")

    async def _answer(self, ask: Ask) -> None:
        enter(ask.frame)
        try:
            answer = Answer(ask.number, await self._done(ask))
        except Exception as error:
            told = portable(error)
            answer = Answer(ask.number, ChildFailed(told) if isinstance(told, str) else told, raised=True)
        except asyncio.CancelledError:  # the child asked for it no more, and goes on; or the host leaves
            del self._asked[ask.number]
            self._look()
            raise
        del self._asked[ask.number]
        await self._child.send(pickle.dumps(answer))
        self._look()

    async def _done(self, ask: Ask) -> Any:
        """Do it; it is durable when this returns."""
        provider, arguments = self._provider, ask.arguments
        if ask.what == "process":
            address, job = arguments
            return await provider.minder.call_step_alone(address, job, self._memory_bytes)
        if ask.what in ("drive", "write"):
            op, args, kwargs = arguments
            driven = provider.drive if ask.what == "drive" else provider.write
            return await driven(op, *args, **kwargs)
        journals: dict[str, Any] = {"load": provider.loads, "record": provider.records, "take": provider.takes}
        return await journals[ask.what].put(*arguments)

    async def _tell(self) -> None:
        told = Told(stopping=False, cancelled=False)
        while True:
            now = Told(self._provider.stopping(), self._given.cancelled)
            if now != told:
                told = now
                await self._child.send(pickle.dumps(now))
            await asyncio.sleep(TELL_SECONDS)
