"""The lodger: a run that is driven in a child of a worker, which does for it whatever touches Postgres.

Steps are called in the child, and only their outcomes leave it; an entry is acknowledged here when it has been
committed there. Transactions of the application's own have a connection of the child's, with the record of the step in
them, as in a worker.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from ...core.context import enter
from ...core.op import Op
from ...jobs.handler import Context
from ...jobs.loops.child import Request, found
from ...jobs.work import Claimed
from ..commands import Work
from ..model import Entry, History, Recorded
from ..talk import Told, What
from .activator import activate
from .asker import Asker
from .performer import Around, Performer
from .provider import Desk, Flow

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E")
A = TypeVar("A")

STACK_BYTES = 8 * 1024 * 1024
"""What a thread takes of the memory that a child may allocate."""


class OutOfMemory(BaseException):
    """A step has met the bound of its child. It is no failure of the step, so nothing of the run may catch it."""


class RunRequest(Request, frozen=True, kw_only=True):
    """Drive the run that the job is. ``address``: of a workflow of the same app. ``threads``: for plain steps.
    ``seconds``: how long a step in a process may take that says nothing of that itself."""

    desks: Callable[[Context], Desk]
    threads: int
    seconds: float

    def perform(self, sock: socket.socket) -> Any:
        """How its job ends. Raises MemoryError when a step has met the child's bound."""
        enter(self.job)
        flow: Flow = found(self.address).siblings[self.job.task]
        try:
            # Not asyncio.run, which waits for threads that steps have left behind: the child ends with its answer.
            return asyncio.new_event_loop().run_until_complete(self._drive(sock, flow))
        except OutOfMemory as error:
            raise MemoryError from error
        finally:
            sock.setblocking(True)

    async def _drive(self, sock: socket.socket, flow: Flow) -> Any:
        ctx = self.context(self.job).lent()
        lodger = Lodger(ctx, self.desks)
        async with Asker(sock, lodger.hear) as asker:
            lodger.speak(asker, _Performer(asker, self._threads(), self.seconds, self.around))
            try:
                return await activate(lodger, flow, ctx, self.job.payload)
            finally:
                lodger.performer.close()
                await ctx.leave()

    def _threads(self) -> int:
        """So many that their stacks leave half of the memory."""
        if self.memory_bytes is None:
            return self.threads
        return max(min(self.threads, self.memory_bytes // 2 // STACK_BYTES), 1)


class Lodger:
    """By which means the run is carried out: most of them are the worker's. See ``Means``."""

    loads: Asking[int, History]
    records: Asking[Entry, Recorded]
    takes: Asking[Entry, Recorded]
    performer: Performer

    def __init__(self, ctx: Context, desks: Callable[[Context], Desk]) -> None:
        self._ctx, self.desks, self._told = ctx, desks, Told(stopping=False, cancelled=False)

    def speak(self, asker: Asker, performer: Performer) -> None:
        """Have everything asked by this from now on."""
        self._asker, self.performer = asker, performer
        self.loads, self.records, self.takes = Asking(asker, "load"), Asking(asker, "record"), Asking(asker, "take")

    def hear(self, told: Told) -> None:
        """What the worker says of itself."""
        self._told = told
        if told.cancelled:
            self._ctx.cancel()

    def stopping(self) -> bool:
        """Whether the worker drains."""
        return self._told.stopping

    async def drive(self, op: Callable[P, Op[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Drive the op of these arguments, in the worker."""
        driven: R = await self._asker.ask("drive", op, args, kwargs)
        return driven

    async def write(self, op: Callable[P, Op[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same of one of several statements, which commit together."""
        written: R = await self._asker.ask("write", op, args, kwargs)
        return written

    def bounds(self, error: BaseException) -> None:
        """Memory is bounded here. To repeat the step would be to repeat that in a worker, which it would end."""
        if isinstance(error, MemoryError):
            raise OutOfMemory from error


class Asking(Generic[E, A]):
    """A journal of the worker's, from afar."""

    def __init__(self, asker: Asker, what: What) -> None:
        self._asker, self._what = asker, what

    async def put(self, entry: E) -> A:
        """Have the entry written, and committed."""
        answer: A = await self._asker.ask(self._what, entry)
        return answer


class _Performer(Performer):
    """Calls functions, and lets the worker know: one that neither ends nor lets go of the loop is ended from there.
    Process tasks run in a child of their own, which the worker sees to, and for ``seconds`` at most."""

    def __init__(self, asker: Asker, threads: int, seconds: float, around: Around | None) -> None:
        super().__init__(threads, _Processes(asker), around)
        self._asker, self._seconds = asker, seconds

    async def call(
        self, job: Claimed, work: Work, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> Any:
        if work.run_in == "process":
            return await super().call(job, work, args, kwargs, self._seconds if timeout is None else timeout)
        with self._asker.calling(work.address, timeout):
            return await super().call(job, work, args, kwargs, timeout)


class _Processes:
    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def call_step(self, address: str, job: Claimed) -> Any:
        return await self._asker.ask("process", address, job)
