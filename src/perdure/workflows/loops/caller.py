"""The caller: calls what the steps of one run ask for, so that it may be stopped where that is wanted; and tells a
cancellation that was born inside of a call from one that came from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ...core.endings import born_inside
from ...jobs.handler import STEP
from ...jobs.work import StepCall
from ..commands import Command, Do
from ..compensate import times_undone
from .container import taken_back
from .performer import Performer
from .recorder import Recorder


class Caller:
    """Calls functions for one activation, in whose task it is made. ``context``: what they are given that want it."""

    def __init__(self, performer: Performer, recorder: Recorder, context: Any) -> None:
        self._performer, self._records, self._context = performer, recorder, context
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.calls: dict[str, asyncio.Task[Any]] = {}
        """The functions of a gathering that are being called, by name of the step: what may be stopped."""
        self.stopping = False
        """A gathering is decided: no function of its members is called any more."""

    def called(self, command: Do, attempt: int, stoppable: bool) -> Coroutine[Any, Any, Any]:
        """What a step's function returns: awaited in the run's own task, or ``stoppable``."""
        work, kwargs = command.work, command.kwargs
        if work.context is not None:
            kwargs = {**kwargs, work.context: self._context}
        call = self._performer.call(self._records.job, work, command.args, kwargs, command.timeout)
        if stoppable:
            call = self.stoppable(command, call)
        return call if work.context is None and work.run_in != "process" else self._placed(command, attempt, call)

    async def _placed(self, command: Do, attempt: int, call: Coroutine[Any, Any, Any]) -> Any:
        """Await what is told which call of which step it is."""
        machine = self._records.machine
        again = times_undone(command, machine.steps)
        of = f"{machine.round}.{again}-{command.name}" if again else f"{machine.round}-{command.name}"
        before = STEP.set(StepCall(attempt, of))
        try:
            return await call
        finally:
            STEP.reset(before)

    async def stoppable(self, command: Command, call: Coroutine[Any, Any, Any]) -> Any:
        """Await what may be stopped, unless it is too late to begin it."""
        if self.stopping:
            call.close()
            raise asyncio.CancelledError
        task = self.calls[command.name] = asyncio.get_running_loop().create_task(call)
        try:
            return await task
        except asyncio.CancelledError:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
            raise
        finally:
            del self.calls[command.name]

    async def alone(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Await what runs in the run's own task."""
        try:
            return await call
        finally:
            if await self.calmed():
                raise asyncio.CancelledError

    async def calmed(self) -> bool:
        """Whether what was called has cancelled the run's own task. Then that is taken back, before it is thrown where
        something is to be recorded, or rolled back."""
        task = asyncio.current_task()
        if task is not self.task or not task.cancelling() or self._context.stopped:
            return False
        return await taken_back(task, self._context)

    async def born(self, error: asyncio.CancelledError) -> Exception:
        """What a cancellation is that was born inside of a step, also if the step has cancelled its own task. Raises
        one that came from outside: to the run's task, or to a call that is stopped."""
        task = asyncio.current_task()
        if task is self.task:
            inside = await taken_back(task, self._context)
        else:
            inside = not (self.stopping or (task is not None and task.cancelling()))
        if not inside:
            raise error
        return born_inside("step", error)
