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

from ...core.context import enter
from ...core.errors import PerdureError
from ..handler import Context, upgraded
from ..work import Claimed

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
    try:
        arguments = task.signature.decode(upgraded(job, task.version, task.upgrades))
        given = context(job)
        if task.signature.context is not None:
            arguments[task.signature.context] = given
        value = task.function(**arguments)
        if asyncio.iscoroutine(value):
            value = asyncio.run(_awaited(value, given))
        pickle.dumps(value)
    except PerdureError as error:
        return "raised", f"{type(error).__name__}: {error}"
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return "raised", traceback.format_exc()
        return "raised", error
    return "returned", value


async def _awaited(running: Coroutine[Any, Any, Any], given: Context) -> Any:
    try:
        return await running
    finally:
        await given.leave()
