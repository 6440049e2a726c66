"""The performer: calls the functions of steps, where they run, for so long at most as they may."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import CoroutineType
from typing import Any, Protocol, TypeAlias

import msgspec

from ...core.endings import Ending
from ...jobs.handler import STEP
from ...jobs.loops.minder import encoded
from ...jobs.work import Claimed, Extras
from ..commands import Work
from .container import OWN, Escaped

log = logging.getLogger("perdure.workflows")

UNCALLED = "no thread was free"
"""With what the wait for a thread is cancelled that nobody had for it."""

Around: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


class Processes(Protocol):
    """Where the process tasks of steps run: a worker's Minder."""

    async def call_step(self, address: str, job: Claimed) -> Any: ...  # noqa: D102


class Performer:
    """Calls functions. ``threads``: how many plain ones run at a time. ``processes``: where process tasks run.
    ``around``: what is done around all others.

    What runs on the loop is cancelled when its time is over, a child process is killed. A thread can't be stopped: its
    step fails with TimeoutError, what it still returns is dropped, and until it does it takes one of the threads.
    """

    def __init__(self, threads: int, processes: Processes, around: Around | None = None) -> None:
        self._size, self._processes, self._around = threads, processes, around
        self._threads: ThreadPoolExecutor | None = None
        self._given_up: set[Future[Any]] = set()

    def call(
        self, job: Claimed, work: Work, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> Coroutine[Any, Any, Any]:
        """What the function returns. Raises what it raises, TimeoutError when its time is over."""
        if timeout is None:
            return self._call(job, work, args, kwargs)
        return self._bounded(job, work, args, kwargs, timeout)

    async def _bounded(
        self, job: Claimed, work: Work, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float
    ) -> Any:
        try:
            async with asyncio.timeout(timeout) as bound:
                return await self._call(job, work, args, kwargs)
        except TimeoutError as error:
            if not bound.expired():
                raise
            if str(error.__cause__) == UNCALLED:
                text = f"wasn't called within {timeout:g} s, its timeout: other steps had every thread ({self._size})"
                raise TimeoutError(text) from None
            raise TimeoutError(f"still running after {timeout:g} s, its timeout") from None

    def close(self) -> None:
        """Forget the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, job: Claimed, work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        function = work.function if self._around is None else self._around(work.function)
        try:
            if work.run_in == "loop":
                value = function(*args, **kwargs)
            elif work.run_in == "thread":
                value = await self._in_thread(work, partial(function, *args, **kwargs))
            else:
                return await self._in_process(job, work, args, kwargs)
            # Nearly always a coroutine, of which the abstract class would have to ask more.
            return await value if type(value) is CoroutineType or isinstance(value, Awaitable) else value
        except OWN:
            raise
        except BaseException as error:
            raise Escaped(error) from error

    async def _in_process(self, job: Claimed, work: Work, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert work.bind is not None
        payload = msgspec.Raw(work.bind(*args, **kwargs).encode())
        value = await self._processes.call_step(
            work.address, msgspec.structs.replace(job, payload=payload, extras=_extras(job, work))
        )
        return value if value is None or isinstance(value, Ending) else msgspec.json.decode(encoded(value))

    async def _in_thread(self, work: Work, call: partial[Any]) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="perdure-step")
        future = self._threads.submit(contextvars.copy_context().run, call)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if future.cancelled():
                raise asyncio.CancelledError(UNCALLED) from None
            self._give_up(future, work)
            raise

    def _give_up(self, future: Future[Any], work: Work) -> None:
        """A thread can't be stopped: say what takes it, until it returns."""
        self._given_up.add(future)
        future.add_done_callback(self._given_up.discard)
        log.warning(
            "%s goes on in its thread, though its step was given up: %d of %d threads for steps are taken so",
            work.address, len(self._given_up), self._size,
        )  # fmt: skip


def _extras(job: Claimed, work: Work) -> Extras:
    """What a step in a child process is told of its run, and of itself. Its arguments are of the code's version."""
    context = None if job.extras is None else job.extras.context
    return Extras(options={"version": work.version}, context=context, step=STEP.get())
