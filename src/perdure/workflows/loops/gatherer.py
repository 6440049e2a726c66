"""The gatherer: carries out commands side by side, so many at a time, until enough have ended; then it stops the rest.

Nothing it has started outlives it. Whatever was stopped is recorded as cancelled before the code goes on, so that a
replay decides as the first time did.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..commands import Command, Gather
from ..model import Step
from .carrier import Carrier, Parked
from .provider import Means
from .recorder import Recorder

LOOK_SECONDS, LOOK_SECONDS_MAX = 1.0, 15.0
"""How long what waits beside what runs isn't looked at, at first and in the end."""


class Gatherer:
    """Carries out one gathering. ``halts``: whether the run is to look up, so that nothing further is begun."""

    def __init__(
        self, provider: Means, recorder: Recorder, carrier: Carrier, gather: Gather, halts: Callable[[], bool]
    ) -> None:
        self._provider, self._records, self._carrier, self._gather = provider, recorder, carrier, gather
        self._halts, self._look_in = halts, LOOK_SECONDS
        self._parked: dict[Command, Parked] = {}
        self._live: dict[asyncio.Task[Parked | None], Command] = {}

    async def carry(self) -> Parked | None:
        """Until it is decided or halted (None), or nothing is left to do but to wait."""
        await self._records.flush()  # members are recorded by several ways, and none may be before what was before them
        waiting = deque(each for each in self._gather.members if not self._ended(each))
        try:
            while not self._gather.decided(self._steps()):
                halted = self._halts()
                while waiting and not halted and len(self._live) < self._gather.limit:
                    self._start(waiting.popleft())
                if not self._live:
                    return None if halted else self._until()
                if not await self._one_ended():
                    waiting.extend(await self._look())
            await self._stop()
        finally:
            await self._abandon()
            self._carrier.caller.stopping = False
        await self._cancel_rest()
        return None

    def _start(self, command: Command) -> None:
        task = asyncio.get_running_loop().create_task(self._carrier.carry(command, stoppable=True))
        self._live[task] = command

    async def _one_ended(self) -> bool:
        """Whether one has; not when it is time to look at those that wait."""
        timeout = None
        if self._parked:
            until = self._until().until
            due = self._look_in if until is None else max(until - self._records.clock(), 0.1)
            timeout = min(self._look_in, due)
        ended, _ = await asyncio.wait(self._live, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            command = self._live.pop(task)
            if (parked := task.result()) is not None:
                self._parked[command] = parked
        return bool(ended)

    async def _look(self) -> list[Command]:
        """See what has come for those that wait, while others still run; they are carried on."""
        self._look_in = min(self._look_in * 2, LOOK_SECONDS_MAX)
        history, current = await self._provider.loads.put(self._records.job.id), self._records.machine.history
        current.now, current.children = history.now, history.children
        self._carrier.inbox = [each for each in history.messages if each.id not in self._carrier.taken]
        unanswered = any(not message.answered for message in history.messages)
        self._records.asked = self._records.asked or history.paused or history.cancel is not None or unanswered
        parked = list(self._parked)
        self._parked.clear()
        return parked

    async def _stop(self) -> None:
        """Stop the calls that still run, begin none, and see those out that have gone on to being recorded."""
        self._carrier.caller.stopping = True
        for call in list(self._carrier.caller.calls.values()):
            call.cancel()
        while self._live:
            ended, _ = await asyncio.wait(self._live, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                self._live.pop(task)
                if not task.cancelled():
                    task.result()

    async def _abandon(self) -> None:
        """The run itself is stopped, or a record was refused: end everything that was started."""
        for task in self._live:
            task.cancel()
        if self._live:
            await asyncio.wait(self._live)

    async def _cancel_rest(self) -> None:
        """Record those that haven't ended as cancelled, and let their children know."""
        rest = [each for each in self._gather.members if not self._ended(each)]
        await self._carrier.cancelled(rest)

    def _steps(self) -> list[Step]:
        found = (self._records.step(member.name) for member in self._gather.members)
        return [step for step in found if step is not None and step.ended]

    def _ended(self, command: Command) -> bool:
        step = self._records.step(command.name)
        return step is not None and step.ended

    def _until(self) -> Parked:
        moments = [parked.until for parked in self._parked.values() if parked.until is not None]
        return Parked(min(moments, default=None))
