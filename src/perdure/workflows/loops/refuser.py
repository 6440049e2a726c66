"""The refuser: what code between steps finds as its task, so that it can't bound by the clock what it awaits.

What ``asyncio.timeout`` cancels is the task that drives the run, in the middle of a step or of a record, and a replay
would come to another end. So it is refused where it is entered.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task  # the Python manual, "Extending": for tasks of other makes
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


class Refuser:
    """Stands in for the task that runs now. ``refuse``: says what is wrong, and makes the error for it."""

    def __init__(self, refuse: Callable[[], Exception]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._loop, self._refuse = task, asyncio.get_running_loop(), refuse

    def during(self, call: Callable[[], R]) -> R:
        """What the call returns, which finds this as its task."""
        _leave_task(self._loop, self._task)
        _enter_task(self._loop, self)  # type: ignore[arg-type]  # whatever stands for one
        try:
            return call()
        finally:
            _leave_task(self._loop, self)  # type: ignore[arg-type]
            _enter_task(self._loop, self._task)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def cancelling(self) -> int:
        """Refuse: who asks that is going to cancel."""
        raise self._refuse()

    def cancel(self, *_: object, **__: object) -> bool:
        """Refuse."""
        raise self._refuse()
