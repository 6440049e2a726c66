"""The overseer: sees that what runs in the slots of a queue ends when it has to, whatever its handler does.

A coroutine is cancelled, again and again; a thread can only be told. The job of one that doesn't heed that ends without
it, and its slot is lost until it does.
"""

from __future__ import annotations

from collections.abc import Callable

from ...runtime.clock import monotonic
from ..work import Claimed, End
from . import ender
from .slot import Slot


class Overseer:
    """Of so many slots. ``settle`` takes the ends of jobs that are taken from their handlers, on the loop's thread."""

    STOP_AGAIN_SECONDS = 1.0
    """How long a handler on the loop has to end once it was told to; then it is told again."""

    def __init__(self, slots: int, settle: Callable[[End], None]) -> None:
        self._settle = settle
        self.slots = [Slot() for _ in range(slots)]
        self._idle: list[Slot] = []
        self._swept = monotonic()
        self.saturated_seconds = 0.0
        """How long, since the start, every slot has been busy."""

    @property
    def running(self) -> int:
        """Slots that run a job now."""
        return sum(slot.busy for slot in self.slots)

    @property
    def lost(self) -> int:
        """Slots whose handler goes on, though its job has ended."""
        return sum(slot.lost for slot in self.slots)

    def stop_jobs(self, reason: str, ids: frozenset[int] | None = None) -> int:
        """Tell running jobs to stop: all, or these and those whose lease is lost; returns how many. Async ones are
        cancelled, threads are told."""
        told = 0
        for slot in self.slots:
            with slot.lock:
                if slot.running and slot.job is not None and (ids is None or slot.job.id in ids or slot.job.lease.lost):
                    self._stop(slot, reason)
                    told += 1
        return told

    def sweep_deadlines(self) -> None:
        """Stop what has run past its deadline, and again what has swallowed that, or give it up; measure how long no
        slot has been free. Called a few times a second."""
        now = monotonic()
        if not self._idle:
            self.saturated_seconds += now - self._swept
        self._swept = now
        for slot in self.slots:
            if slot.deadline is not None and now > slot.deadline:
                with slot.lock:
                    if slot.deadline is not None and now > slot.deadline and slot.running:
                        self._stop(slot, "timeout")
            if slot.stopping and now - slot.told > self.STOP_AGAIN_SECONDS:
                self._tell(slot, now)
                ender.give_up(slot, self._settle)

    def abandon(self, reason: str) -> list[Claimed]:
        """End jobs whose handlers didn't stop as if they had. Their slots are lost; the process is about to leave."""
        left = []
        for slot in self.slots:
            with slot.lock:
                job, slot.job = slot.job, None
                if job is not None:
                    left.append(job)
                    end = ender.stopped(slot, job, slot.stop or reason)
                    end.written = "perhaps" if slot.ending else "no"
                    self._settle(end)
        return left

    def _stop(self, slot: Slot, reason: str) -> None:
        if slot.hears(reason):
            return
        slot.stop, slot.times = reason, 0
        if slot.handler is not None and slot.handler.run_in == "thread":
            job = slot.job
            if reason in ("timeout", "cancelled") and job is not None:
                # A thread can't be interrupted. Its job ends now; what the thread still returns is dropped, and its
                # slot stays taken until it does.
                slot.job = None
                self._settle(ender.stopped(slot, job, reason))
        else:
            self._tell(slot, monotonic())

    def _tell(self, slot: Slot, now: float) -> None:
        """Cancel what runs on the loop; a thread asks its context by itself."""
        slot.told, slot.times = now, slot.times + 1
        if slot.task is not None and slot.handler is not None and slot.handler.run_in != "thread":
            slot.task.cancel()
