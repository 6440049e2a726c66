"""A child of a worker: it answers one call after the other, each with what a handler returned or raised.

What is more than a call (``workflows.loops.lodger``) is a Request of its own kind, and talks on the socket meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import traceback
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

import msgspec

from ...core import limits
from ...core.codec import encode_result
from ...core.context import enter
from ...core.endings import Ending
from ...core.errors import PerdureError, TransientError
from ...runtime import faults, framing, memory
from ...runtime.clock import monotonic
from ...runtime.dice import roll
from ...runtime.nursery import NoChild
from .. import rules
from ..handler import STEP, Context, upgraded
from ..view import gist
from ..work import Claimed, End

NICENESS = 10
"""By how much a suspect gives way to the worker and its other jobs."""

ERROR_BYTES_MAX = 65_536
"""An exception that is larger travels as its text."""


class Unfound(NoChild):
    """A child can't import what it is to run. Nothing of that was called."""


class Request(msgspec.Struct, frozen=True):
    """One call: the task at "module:qualified.name". ``context`` makes what its handler is given. ``timeout``: seconds
    after which a coroutine is cancelled. ``memory_bytes``: what the child may allocate from now on. ``around``: what is
    done around functions of the application."""

    address: str
    job: Claimed
    context: Callable[[Claimed], Context]
    timeout: float | None = None
    memory_bytes: int | None = None
    around: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None

    def perform(self, sock: socket.socket) -> Any:
        """What the handler returns. Raises what it raises."""
        return _run(self)


def lent(context: Callable[[Claimed], Context], job: Claimed) -> Context:
    """What a task is given that is a step of a run."""
    STEP.set(None if job.extras is None else job.extras.step)
    return context(job).lent()


class Returned(msgspec.Struct, frozen=True):
    """A result, encoded in the child so that nothing large travels; or why that was refused."""

    text: str
    refused: PerdureError | None = None


def serve(sock: socket.socket) -> None:
    """Answer calls until the worker lets go."""
    with sock.makefile("rwb") as wire:
        while (message := framing.read_here(wire)) is not None:
            wire.write(framing.framed(_answer(pickle.loads(message), sock)))
            wire.flush()


def _answer(request: Request, sock: socket.socket) -> bytes:
    if request.memory_bytes is not None:
        memory.bound(request.memory_bytes)
        os.nice(NICENESS)
    try:
        return pickle.dumps(_call(request, sock))
    except MemoryError:
        return _OUT_OF_MEMORY


_OUT_OF_MEMORY = pickle.dumps(("raised", MemoryError()))


def _call(request: Request, sock: socket.socket) -> tuple[str, Any]:
    """Run the task. Its context is a copy: a child that is to stop isn't told, it is killed."""
    try:
        value = request.perform(sock)
    except MemoryError:
        raise
    except BaseException as error:  # a SystemExit, too: in the worker it would end the job and no more
        if (want := rules.unserved(error)) is not None:
            return "raised", want
        return "raised", f"{type(error).__name__}: {error}" if isinstance(error, PerdureError) else portable(error)
    if value is None or isinstance(value, Ending | End):
        return "returned", value
    try:
        return "returned", Returned(encode_result(value))
    except PerdureError as error:
        return "returned", Returned("", error)


def _run(request: Request) -> Any:
    """Find the task again, decode its arguments, run it."""
    job, task = request.job, found(request.address)
    enter(job)  # for this call; the next one enters its own
    given = request.context(job)
    try:
        arguments = task.signature.decode(upgraded(job, task.version, task.upgrades))
        if task.signature.context is not None:
            arguments[task.signature.context] = given
        job.started = monotonic()
        faults.point("child.called")
        function = task.function if request.around is None else request.around(task.function)
        value = function(**arguments)
        running = asyncio.iscoroutine(value)
        if running:
            value = asyncio.run(_awaited(value, given, task.at_most_once, request.timeout))
        else:
            value = _concluded(value, given, task.at_most_once)
        if isinstance(value, Ending):
            given.keep()
        return value
    except BaseException:
        given.keep()
        raise
    finally:
        if given.unfinished:
            given.conclude_here(End(job, "returned", 0))


def found(address: str) -> Any:
    """What stands at an address. Raises Unfound."""
    module, _, name = address.partition(":")
    try:
        stands: Any = import_module(module)
        for part in name.split("."):
            stands = getattr(stands, part)
    except (Exception, SystemExit) as error:
        said = gist(f"{type(error).__name__}: {error}")
        raise Unfound(f"a child process can't import {address}, as its worker has: {said}") from error
    return stands


def _concluded(value: Any, given: Context, once: bool) -> Any:
    """What a handler has returned, or the end of its job when its own transaction ends with it. ``once``: what its task
    declares of running at most once."""
    if not given.unfinished or isinstance(value, Ending):
        return value
    try:
        return given.conclude_here(_end(value, given.claimed))
    except TransientError as error:
        return _uncommitted(given.claimed, error, once)


async def _awaited(running: Coroutine[Any, Any, Any], given: Context, once: bool, timeout: float | None) -> Any:
    """The same of a coroutine, whose loop ends with it."""
    try:
        value = await _within(timeout, running)
        if not given.unfinished or isinstance(value, Ending):
            return value
        try:
            return await given.conclude(_end(value, given.claimed))
        except TransientError as error:
            return _uncommitted(given.claimed, error, once)
    finally:
        if given.unfinished:
            await given.conclude(End(given.claimed, "returned", 0))
        await given.leave()


async def _within(timeout: float | None, running: Coroutine[Any, Any, Any]) -> Any:
    bound = asyncio.timeout(timeout)
    try:
        async with bound:
            return await running
    except TimeoutError:
        if bound.expired():
            raise TimeoutError(f"still running after {timeout:.3f} s, its timeout") from None
        raise


def _end(value: object, job: Claimed) -> End:
    """The end of a handler that returned."""
    elapsed = monotonic() - job.started
    try:
        text = None if value is None else encode_result(value)
    except PerdureError as error:
        return rules.unkept(job, error, elapsed)
    return End(job, "completed", 1, elapsed, text)


def _uncommitted(job: Claimed, error: TransientError, declared: bool) -> End:
    elapsed, once = monotonic() - job.started, rules.at_most_once_for(job, declared)
    return rules.uncommitted(job, error, elapsed=elapsed, dice=roll(), at_most_once=once)


def portable(error: BaseException) -> BaseException | str:
    """The exception if it can travel, else its text."""
    if isinstance(error, Exception):
        try:
            text = pickle.dumps(error)
            pickle.loads(text)
            if len(text) <= ERROR_BYTES_MAX:
                return error
        except Exception:
            pass
    return "".join(traceback.format_exception(error))[-limits.ERROR_TEXT_CHARS_MAX :]
