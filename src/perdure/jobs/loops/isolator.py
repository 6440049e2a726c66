"""Suspects run alone: jobs that may have been running when their worker was lost, each in a child of its own.

A crash can't tell who was guilty. The innocent ones end as anybody does, and are suspects no more. A guilty one takes
nothing but its child with it, and the child's end is its own: one attempt, and with the third it is dead. A suspect
waits here and takes no slot, so its queue goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from inspect import iscoroutinefunction
from typing import Any

from ...core import limits
from ...runtime import memory
from ...runtime.clock import monotonic, utc_now
from ...runtime.dice import roll
from ...runtime.nursery import ChildEnded
from .. import rules
from ..handler import Context, Handler
from ..work import Claimed, End
from . import ender
from .keeper import Keeper
from .minder import Minder, cores, encoded, ended_how
from .runner import Runner
from .slot import Slot

log = logging.getLogger("perdure.run")


class Isolator(Runner):
    """The place of suspects of every queue: a slot for each child, and room for a few more to wait."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        minder: Minder,
        keeper: Keeper | None,
        settle: Callable[[End], None],
        trusted_until: Callable[[], float],
        context: Callable[[Claimed], Context] = Context,
    ) -> None:
        # A run that no child finds is driven in the worker: few at a time, then, and its rescues are counted.
        alone = {
            name: each if each.asks else replace(each, run_in="process", encode=encoded)
            for name, each in handlers.items()
        }
        # Runs may have steps in processes, each beside the child of its run.
        hosts = any(each.host is not None for each in handlers.values())
        beside = cores() if hosts and any(each.run_in == "process" for each in handlers.values()) else 0
        count, self.memory_bytes = share(memory.budget_bytes(), cores() * limits.SUSPECTS_PER_CORE, beside)
        super().__init__(
            alone,
            count,
            settle=settle,
            trusted_until=trusted_until,
            on_room=lambda: None,
            context=context,
            minder=minder,
            keeper=keeper,
        )
        self._waiting_max = limits.SUSPECTS_WAITING_MAX * count

    def offer(self, jobs: Iterable[Claimed]) -> None:
        """Take suspects; those that there is no room for go back for a while."""
        jobs = list(jobs)
        room = max(self._waiting_max - len(self.backlog), 0)
        super().offer(jobs[:room])
        for job in jobs[room:]:
            self._settle(ender.put_off(job, "no child was free to run it alone"))

    def gauges(self) -> dict[str, int]:
        """Children that may run at a time, suspects that run, and those that wait."""
        return {"children": len(self.slots), "running": self.running, "waiting": len(self.backlog)}

    async def _call(self, slot: Slot, job: Claimed, handler: Handler) -> Any:
        slot.doing = ""
        if handler.host is not None:
            return await self._hosted(slot, job, handler.host)
        if handler.asks:
            return await super()._call(slot, job, handler)
        timeout = rules.timeout_for(job, handler.timeout)
        if handler.context is not None and self._keeper is not None:
            await self._keeper.prepare(job, handler)
        child = await self._minder.alone(self._trusted_until)
        job.started = monotonic()
        # A coroutine is cancelled at its timeout, as on the loop; what doesn't heed that is killed.
        gentle = timeout is not None and iscoroutinefunction(handler.function)
        grace = limits.SUSPECT_GRACE_SECONDS if gentle else 0.0
        slot.deadline = job.started + (limits.SUSPECT_SECONDS if timeout is None else timeout + grace)
        gently = timeout if gentle else None
        return await self._minder.call_alone(child, handler.address, job, gently, self.memory_bytes)

    async def _hosted(self, slot: Slot, job: Claimed, host: Callable[..., Awaitable[Any]]) -> Any:
        """Have it driven in a child that asks for things meanwhile, and so says when it is to be given up."""
        child = await self._minder.alone(self._trusted_until)
        job.started = monotonic()
        given = slot.gives(self._context(job))

        def watch(until: float | None, doing: str) -> None:
            slot.deadline, slot.doing = until, doing

        try:
            return await host(child, given, self.memory_bytes, watch)
        finally:
            child.kill()

    def _raised(self, slot: Slot, job: Claimed, handler: Handler, error: BaseException) -> End:
        if slot.stop is not None:
            return super()._raised(slot, job, handler, error)
        if isinstance(error, ChildEnded) and error.code is None:
            return ender.childless(job, error)
        if isinstance(error, ChildEnded):
            return self._crashed(slot, job, handler, f"the child that ran it alone {ended_how(error.code)}")
        if isinstance(error, MemoryError):
            text = f"it ran alone into its memory limit of {self.memory_bytes:,} bytes"
            return self._crashed(slot, job, handler, text)
        return super()._raised(slot, job, handler, error)

    def _interrupted(self, slot: Slot, job: Claimed, handler: Handler, error: BaseException) -> End | None:
        if slot.stop == "timeout" and not self._closing:
            timeout = rules.timeout_for(job, handler.timeout)
            if timeout is None or iscoroutinefunction(handler.function):
                ran = monotonic() - job.started
                text = f"still running alone after {ran:.3f} s, its child was killed"
                return self._crashed(slot, job, handler, text)
        return super()._interrupted(slot, job, handler, error)

    def _crashed(self, slot: Slot, job: Claimed, handler: Handler, text: str) -> End:
        text = f"{text}, in {slot.doing}" if slot.doing else text
        log.warning("suspect %d (%s): %s", job.id, job.task, text)
        end = rules.crashed(
            job,
            text,
            rules.policy_for(job, handler.retry),
            elapsed=monotonic() - job.started,
            dice=roll(),
            now=utc_now(),
        )
        end.then = handler.crashed
        return end


def share(budget: int | None, most: int, beside: int = 0) -> tuple[int, int | None]:
    """How many children may run, and what each may allocate: a share of the budget, so that all of them together, and
    so many ``beside`` them, stay below what would end the worker."""
    if budget is None:
        return most, None
    whole = int(budget * limits.SUSPECT_MEMORY_SHARE)
    count = max(min(most, whole // limits.SUSPECT_MEMORY_BYTES_MIN - beside), 1)
    return count, whole // (count + beside)
