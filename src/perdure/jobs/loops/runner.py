"""The runner: a fixed number of slots that pull jobs from one backlog. Nothing is created per job but its end.

Async handlers run on the loop, inside their slot; sync ones on the slot's thread, which goes on pulling while the next
job is sync too, because a hop per job costs more than most jobs; process ones in a child that dies with its job.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...core import context, limits
from ...core.endings import Ending
from ...runtime import faults
from ...runtime.clock import monotonic
from .. import rules
from ..handler import Context, Handler
from ..work import Claimed, End
from . import ender
from .keeper import Keeper
from .minder import Minder
from .overseer import Overseer
from .slot import Slot, SlotTask

log = logging.getLogger("perdure.run")

UNKNOWN_TOLD_MAX = 100
"""Of so many tasks that aren't known here there is a line."""


class Runner(Overseer):
    """The slots of one queue.

    ``settle`` takes each end, on the loop's thread. ``trusted_until`` (monotonic seconds): past it nothing is started;
    ``pause`` waits a while then. ``on_room`` is called when the backlog has run low, so that the claimer may claim.
    ``context`` makes what handlers are given. ``minder``: of process tasks' children. ``keeper``: of checkpoints.
    """

    SLICE_SECONDS = 0.002
    """How long handlers that never wait may keep the loop before everybody else gets a turn."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        slots: int,
        *,
        settle: Callable[[End], None],
        trusted_until: Callable[[], float],
        on_room: Callable[[], None],
        pause: Callable[[], Awaitable[None]] | None = None,
        context: Callable[[Claimed], Context] = Context,
        minder: Minder | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        super().__init__(slots, settle)
        self.gate: Callable[[Claimed], End | None] | None = None
        """Asked before a job is started, where its queue declares what may stop it."""
        self._handlers, self._trusted_until, self._on_room = handlers, trusted_until, on_room
        self._pause = pause or (lambda: asyncio.sleep(0.05))
        self._context, self._minder, self._keeper = context, minder or Minder(()), keeper
        self.backlog: deque[Claimed] = deque()
        self.low = self.ended = 0
        self._threads: ThreadPoolExecutor | None = None
        self._thread_ends: deque[End] = deque()
        self._thread_drain = self._closing = False
        self._loop = asyncio.get_running_loop()
        self._slice = 0.0
        self._unknown: set[str] = set()

    def start(self, on_broken: Callable[[asyncio.Task[None]], None]) -> None:
        """Start the slots; ``on_broken`` is given the task of one that ends, which none does by itself."""
        for slot in self.slots:
            slot.task = SlotTask(self._serve(slot), slot)
            slot.task.add_done_callback(on_broken)

    @property
    def free(self) -> int:
        """Slots that run nothing and have nothing waiting for them."""
        return max(len(self._idle) - len(self.backlog), 0)

    def offer(self, jobs: Iterable[Claimed]) -> None:
        """Take claimed jobs, in the order in which they are to be started."""
        self.backlog.extend(jobs)
        self._wake()

    def turns_away(self, job: Claimed) -> bool:
        """Whether what is asked before a job of this queue is started has ended this one, which runs elsewhere."""
        end = None if self.gate is None else self.gate(job)
        if end is not None:
            self._settle(end)
        return end is not None

    def take_back(self) -> list[Claimed]:
        """Everything not started, out of the backlog."""
        unstarted = []
        with contextlib.suppress(IndexError):
            while True:  # one by one: threads pull from it, too
                unstarted.append(self.backlog.popleft())
        return unstarted

    def shut(self) -> None:
        """Start nothing more, and take a cancellation for the end of a slot, and not for its job's doing."""
        self._closing = True

    async def close(self) -> None:
        """Cancel the slots and forget the threads."""
        self.shut()
        for slot in self.slots:
            if slot.context is not None:
                slot.context.cancel(stopped=True)
        tasks = [slot.task for slot in self.slots if slot.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:  # none when the worker was stopped, or refused, before its slots began
            await asyncio.wait(tasks, timeout=1.0)
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _wake(self, taken: int = 0) -> None:
        """Wake a few slots for the backlog, of which so many jobs are as good as taken; each slot that is woken wakes
        a few more. A thousand slots are awake after ten turns of the loop, yet jobs that never wait are worked off by
        those that woke first, without a switch for each."""
        for _ in range(min(len(self.backlog) - taken, len(self._idle), 2)):
            waiter = self._idle.pop().waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    async def _serve(self, slot: Slot) -> None:
        """Pull and run until cancelled, or until closed when a handler has swallowed that."""
        while not self._closing:
            if self._thread_ends:
                self._drain_thread_ends()
            if not self.backlog:
                slot.waiter = self._loop.create_future()
                self._idle.append(slot)
                await slot.waiter
                self._slice = monotonic()
                self._wake(1)
                continue
            try:
                job = self.backlog.popleft()
            except IndexError:
                continue  # a thread was quicker
            now = monotonic()
            if now > self._trusted_until():
                self.backlog.appendleft(job)
                await self._pause()
                continue
            job.started = now
            await self._run(slot, job)
            self.ended += 1
            if slot.cancelled and not self._closing:
                await slot.calm()
            if len(self.backlog) <= self.low:
                self._on_room()
            if now - self._slice > self.SLICE_SECONDS:
                await asyncio.sleep(0)
                self._slice = monotonic()

    async def _run(self, slot: Slot, job: Claimed) -> None:
        """Run one job to its end, whatever its handler does."""
        handler = self._handlers.get(job.task)
        if handler is None or job.extras is not None or job.cancelled or job.expired or self.gate is not None:
            end = self._unstartable(job, handler)
            if end is not None or handler is None:
                self._settle(self._told(end or rules.parked(job)))
                return
        if handler.run_in == "thread":
            await self._run_threads(slot, job)
            return
        if faults.armed:  # asked here, because a call for each job would cost
            faults.point("run.before")
        slot.job, slot.handler, slot.stop, slot.busy = job, handler, None, True
        bound = context.enter(job)
        try:
            try:
                if handler.plain and job.extras is None and not job.generation:
                    value = await handler.function(**handler.decode(job.payload))
                else:
                    value = await self._call(slot, job, handler)
                    if handler.context is not None and isinstance(value, Ending):
                        await self._keep(slot, job, handler)
                if slot.cancelled and slot.stop is None and await slot.calm():
                    raise asyncio.CancelledError  # as any task that ends before it hears that it has cancelled itself
                if value is None:
                    end = End(job, "completed", 1, monotonic() - job.started)
                else:
                    end = ender.returned(job, handler, value, slot.context)
            except asyncio.CancelledError as error:
                await self._keep(slot, job, handler)
                end = self._interrupted(slot, job, handler, error)
                if end is None:
                    raise
            except BaseException as error:  # a KeyboardInterrupt, too: the worker's own signals don't come this way
                await self._keep(slot, job, handler)
                end = self._raised(slot, job, handler, error)
            if handler.run_in == "process" and handler.context is not None and end.written == "no":
                end.written = "perhaps"  # its child may have died while it committed
            if slot.context is not None and slot.context.unfinished:
                end = await self._concluded(slot, slot.context, handler, end if slot.job else End(job, "returned", 0))
        finally:
            context.leave(bound)
            abandoned, slot.job, slot.busy, slot.ending = slot.job is None, None, False, False
            slot.deadline = slot.context = None
        if not abandoned:
            self._settle(end)

    async def _keep(self, slot: Slot, job: Claimed, handler: Handler) -> None:
        """Have its last words kept, which may take as long as the server does: it has ended, and isn't told to."""
        if slot.cancelled:
            await slot.calm()
        if handler.context is not None and self._keeper is not None:
            slot.deadline, slot.ending = None, True
            await self._keeper.last_word(slot.context, job, handler)

    def _told(self, end: End) -> End:
        """The end; with a line for the first job of a task that isn't known here, since they wait without a sound."""
        task = end.job.task
        if end.reason == "unknown_task" and task not in self._unknown and len(self._unknown) < UNKNOWN_TOLD_MAX:
            self._unknown.add(task)
            said = "job %d is held for a worker that knows its task %s, as all of that task are: this app doesn't"
            log.info(said, end.job.id, task, extra={"claimed": end.job})
        return end

    def _unstartable(self, job: Claimed, handler: Handler | None) -> End | None:
        end = ender.unstartable(job, handler)
        return end if end is not None or self.gate is None else self.gate(job)

    async def _call(self, slot: Slot, job: Claimed, handler: Handler) -> Any:
        timeout = handler.timeout if job.extras is None else rules.timeout_for(job, handler.timeout)
        if handler.run_in == "process":
            slot.queued = job
            if handler.context is not None and self._keeper is not None:
                await self._keeper.prepare(job, handler)
            return await self._minder.call(slot, job, handler, timeout, self._trusted_until)
        if timeout is not None:
            slot.deadline = job.started + timeout
        if job.generation and self._keeper is not None and not handler.asks:
            await self._keeper.restore(job, handler)
        arguments = handler.arguments(job)
        if handler.context is not None:
            arguments[handler.context] = slot.gives(self._context(job))
        return await handler.function(**arguments)

    async def _concluded(self, slot: Slot, given: Context, handler: Handler, end: End) -> End:
        """The end of a job whose handler has left a transaction, which is committed with it or rolled back. It is too
        late to stop it now."""
        slot.deadline, slot.ending = None, True
        concluding = self._loop.create_task(given.conclude(end))
        while not concluding.done():
            try:
                await asyncio.wait((concluding,))
            except asyncio.CancelledError:
                if self._closing:
                    raise
        try:
            return concluding.result()
        except BaseException as error:
            return ender.uncommitted(end.job, handler, error)

    def _raised(self, slot: Slot, job: Claimed, handler: Handler, error: BaseException) -> End:
        return ender.raised(slot, job, handler, error)

    def _interrupted(self, slot: Slot, job: Claimed, handler: Handler, error: BaseException) -> End | None:
        """The end of a handler that a cancellation has left; None when it is the slot itself that is to end."""
        if self._closing or slot.task is None:
            return None
        if slot.stop is not None:
            return ender.stopped(slot, job, slot.stop)
        # Something inside the handler was cancelled, or it has cancelled its own task: an error like any other.
        return ender.failed(job, handler, error, slot.context)

    async def _run_threads(self, slot: Slot, job: Claimed) -> None:
        """Lend the slot to a thread, for this job and the sync jobs after it."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(len(self.slots), thread_name_prefix="perdure-run")
        slot.busy, slot.stop = True, None
        try:
            await self._loop.run_in_executor(self._threads, self._pull, slot, job)
        finally:
            slot.busy, slot.job = False, None
            slot.deadline = slot.context = None
        self._drain_thread_ends()

    def _pull(self, slot: Slot, job: Claimed) -> None:
        """On a thread: run sync jobs from the backlog while they last, and trust does."""
        while True:
            handler = self._handlers[job.task]
            end = self._unstartable(job, handler) or self._run_sync(slot, job, handler)
            if end is not None:
                self._thread_ends.append(end)
                if not self._thread_drain:
                    self._thread_drain = True
                    self._loop.call_soon_threadsafe(self._drain_thread_ends)
            try:
                job = self.backlog.popleft()
            except IndexError:
                return
            following = self._handlers.get(job.task)
            now = monotonic()
            late = now > self._trusted_until() or len(self._thread_ends) >= limits.THREAD_ENDS_MAX
            if following is None or following.run_in != "thread" or late or self._closing:
                self.backlog.appendleft(job)
                return
            job.started = now

    def _run_sync(self, slot: Slot, job: Claimed, handler: Handler) -> End | None:
        """On a thread: one job's end; None when the job was ended for it (timed out, cancelled) meanwhile."""
        timeout = rules.timeout_for(job, handler.timeout)
        slot.begin(job, handler, None if timeout is None else job.started + timeout)
        bound = context.enter(job)
        given = None
        try:
            if job.generation and self._keeper is not None:
                self._keeper.restore_from_thread(job, handler)
            arguments = handler.arguments(job)
            if handler.context is not None:
                given = arguments[handler.context] = slot.gives(self._context(job))
            value = handler.function(**arguments)
            if given is not None and isinstance(value, Ending):
                given.keep()
            end = ender.returned(job, handler, value, given)
        except BaseException as error:
            if given is not None:
                given.keep()
            end = self._raised(slot, job, handler, error)
        finally:
            context.leave(bound)
        if given is not None and given.unfinished:
            end = ender.concluded_here(slot, given, handler, end)
        with slot.lock:
            ended_here, slot.job, slot.deadline, slot.ending = slot.job is not None, None, None, False
        return end if ended_here else None

    def _drain_thread_ends(self) -> None:
        # Down before the first pop: whoever appends later sees it down and asks for another turn.
        self._thread_drain = False
        while self._thread_ends:
            self._settle(self._thread_ends[0])  # in one of the two all the time, for who counts them
            self._thread_ends.popleft()
            self.ended += 1
        if len(self.backlog) <= self.low:
            self._on_room()
