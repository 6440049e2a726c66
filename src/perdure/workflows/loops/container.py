"""The container: keeps within a step what would end more than the step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from ...core.endings import Cancel, Ending, Snooze
from ...jobs.handler import Context

R = TypeVar("R")

OWN = (Exception, asyncio.CancelledError, GeneratorExit)
"""What may leave a step as it is: its failures, and that it is stopped."""


_OF_JOBS = {
    Snooze: "only a job can be snoozed, and this is a step: raise RetryAfter, or let the workflow wait with wf.sleep",
    Cancel: "only a job cancels itself, and this is a step: raise Permanent, or return what the workflow decides by",
}
"""Endings that no step can have, with what to do instead."""


class Escaped(Exception):
    """Carries what a step has raised that is no Exception: a SystemExit, say. Out of a task of asyncio's that ends the
    loop, and with it every job of the worker; out of a run it ends that, past everything it has to undo."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def as_failure(ending: Ending) -> str:
    """Give an ending of a step a text to be told by. Why it fails the step at once; "" for one that a step can have."""
    instead = next((told for kind, told in _OF_JOBS.items() if isinstance(ending, kind)), None)
    reason = str(ending.reason or "")
    ending.args = (f"{reason}; {instead}" if reason and instead else reason or instead or type(ending).__name__,)
    return "" if instead is None else "not_retryable"


async def contained(function: Callable[..., Awaitable[R]], *args: Any) -> R:
    """What the function returns. Raises what it raises, Escaped for what would escape."""
    try:
        return await function(*args)
    except OWN:
        raise
    except BaseException as error:
        raise Escaped(error) from error


async def taken_back(task: asyncio.Task[Any], context: Context) -> bool:
    """Whether a cancellation of the run's task comes from what the run has called, since nobody else has stopped it:
    then the task knows nothing of it any more."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)  # it may not have been thrown yet
    while task.cancelling() and not context.stopped:
        task.uncancel()
    return not context.stopped
