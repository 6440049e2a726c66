"""CPU-bound handlers in child processes: one call at a time per child, which is killed when the call is cancelled.

The children are anyio's (``anyio.to_process``): kept for the next call, spawned without a fork of this loop.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Any

import anyio
import anyio.to_process

from ...core import limits
from ...core.codec import encode
from ...core.context import enter
from ...core.endings import Ending, storable
from ...core.errors import PerdureError, TransientError
from ...runtime.clock import monotonic
from ...runtime.dice import roll
from .. import rules
from ..handler import Context, upgraded
from ..work import Claimed, End

_limiter: anyio.CapacityLimiter | None = None
_UNLIMITED = anyio.CapacityLimiter(math.inf)


class ChildFailed(Exception):
    """What a handler raised in its child: the text, since the exception itself may not travel."""


def child_turn() -> anyio.CapacityLimiter:
    """Enter this for a child: as many run at a time as there are cores, and the rest wait for their turn."""
    global _limiter
    if _limiter is None:
        _limiter = anyio.CapacityLimiter(os.cpu_count() or 1)
    return _limiter


async def call_in_child(address: str, job: Claimed, context: Callable[[Claimed], Context]) -> Any:
    """Run the task at "module:qualified.name" in a child, where ``context`` makes what its handler is given.

    Raises what the handler raised; ChildFailed if that can't travel, or if the child died."""
    try:
        ending, value = await anyio.to_process.run_sync(
            _call, address, job, context, cancellable=True, limiter=_UNLIMITED
        )
    except anyio.BrokenWorkerProcess:
        raise ChildFailed("the child process died under the handler") from None
    if ending == "returned":
        return value
    raise value if isinstance(value, BaseException) else ChildFailed(value)


def _call(address: str, job: Claimed, context: Callable[[Claimed], Context]) -> tuple[str, Any]:
    """In the child: find the task again, decode its arguments, run it. Its context is a copy: a child that is to stop
    isn't told, it is killed."""
    import pickle
    import traceback

    module, _, name = address.partition(":")
    task: Any = import_module(module)
    for part in name.split("."):
        task = getattr(task, part)
    enter(job)  # for the one call that this function is, so there is nothing to leave
    given = context(job)
    try:
        arguments = task.signature.decode(upgraded(job, task.version, task.upgrades))
        if task.signature.context is not None:
            arguments[task.signature.context] = given
        job.started = monotonic()
        value = task.function(**arguments)
        value = asyncio.run(_awaited(value, given)) if asyncio.iscoroutine(value) else _concluded(value, given)
        if isinstance(value, Ending):
            given.keep()
        pickle.dumps(value)
    except PerdureError as error:
        given.keep()
        return "raised", f"{type(error).__name__}: {error}"
    except Exception as error:
        given.keep()
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return "raised", traceback.format_exc()
        return "raised", error
    finally:
        if given.unfinished:
            given.conclude_here(End(job, "returned", 0))
    return "returned", value


def _concluded(value: Any, given: Context) -> Any:
    """What a handler has returned, or the end of its job when its own transaction ends with it."""
    if not given.unfinished or isinstance(value, Ending):
        return value
    try:
        return given.conclude_here(_end(value, given.claimed))
    except TransientError as error:
        return _uncommitted(given.claimed, error)


async def _awaited(running: Coroutine[Any, Any, Any], given: Context) -> Any:
    """The same of a coroutine, whose loop ends with it."""
    try:
        value = await running
        if not given.unfinished or isinstance(value, Ending):
            return value
        try:
            return await given.conclude(_end(value, given.claimed))
        except TransientError as error:
            return _uncommitted(given.claimed, error)
    finally:
        if given.unfinished:
            await given.conclude(End(given.claimed, "returned", 0))
        await given.leave()


def _end(value: object, job: Claimed) -> End:
    """The end of a handler that returned."""
    elapsed = monotonic() - job.started
    try:
        text = None if value is None else encode(value, field="result", bytes_max=limits.RESULT_BYTES_MAX)
    except PerdureError as error:
        return End(job, "dead", 1, elapsed, text=storable(str(error)), reason="bad_result")
    return End(job, "completed", 1, elapsed, text)


def _uncommitted(job: Claimed, error: TransientError) -> End:
    elapsed, once = monotonic() - job.started, rules.at_most_once_for(job, False)
    return rules.uncommitted(job, error, elapsed=elapsed, dice=roll(), at_most_once=once)
