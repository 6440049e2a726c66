"""The recorder of one run: what has become of a step is durable before the machine hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from ...core import limits
from ...core.codec import encode
from ...core.endings import Ending, storable
from ...jobs.work import Claimed
from ...runtime import faults
from ...runtime.clock import wall_clock
from ..commands import Command
from ..machine import Machine
from ..model import Entry, Kind, Recorded, State, Step, StepError
from ..ops.control import note
from .provider import Means

NOTHING = msgspec.Raw(b"null")

MESSAGE_CHARS_MAX = 4_000
"""What is kept of a step's error."""


class Recorder:
    """Records for one activation. ``asked``: somebody wants the run to look up."""

    def __init__(self, provider: Means, job: Claimed, machine: Machine) -> None:
        self._provider, self.job, self.machine = provider, job, machine
        self.asked = False

    def clock(self) -> float:
        """The run's time by this worker's clock, seconds since 1970."""
        # In whole microseconds, as Postgres keeps it, so that a replay reads the same.
        return int((wall_clock() + self.machine.history.skew) * 1e6) / 1e6

    def step(self, name: str) -> Step | None:
        """What is recorded under the name."""
        return self.machine.steps.get(name)

    def began(self, name: str, latest: float) -> float:
        """When the first attempt of a step began, of which the latest has begun then."""
        step = self.machine.steps.get(name)
        return latest if step is None or step.started_at is None else step.started_at

    def done(self, command: Command, outcome: str | None, **details: Any) -> Coroutine[Any, Any, Recorded]:
        """It has ended well."""
        return self.ended(command.name, command.kind, "done", outcome, **details)

    def failed(self, command: Command, error: StepError, **details: Any) -> Coroutine[Any, Any, Recorded]:
        """It has failed for good."""
        return self.ended(command.name, command.kind, "failed", encode(error), **details)

    def ended(
        self,
        name: str,
        kind: Kind,
        state: State,
        outcome: str | None,
        *,
        attempt: int = 0,
        started: float | None = None,
        detail: str | None = None,
        taken: int | None = None,
    ) -> Coroutine[Any, Any, Recorded]:
        """Write the end of a step."""
        entry = self.entry(name, kind, state, attempt=attempt)
        entry.started_at, entry.ended_at = started, self.clock()
        entry.detail, entry.outcome, entry.taken = detail, outcome, taken
        return self._exposed(entry) if faults.armed else self.write(entry)  # a call for each record would cost

    async def _exposed(self, entry: Entry) -> Recorded:
        faults.point("workflow.before_record")
        recorded = await self.write(entry)
        faults.point("workflow.after_record")
        return recorded

    async def pending(
        self,
        command: Command,
        state: State,
        *,
        attempt: int = 0,
        delay: float | None = None,
        due_at: float | None = None,
        detail: str | None = None,
        error: StepError | None = None,
        started: float | None = None,
    ) -> Recorded:
        """Write that a step has begun, waits, or will be tried again."""
        entry = self.entry(command.name, command.kind, state, attempt=attempt)
        entry.delay, entry.due_at, entry.detail = delay, due_at, detail
        entry.started_at = None if started is None else self.began(command.name, started)  # as Postgres keeps it
        entry.outcome = None if error is None else encode(error)
        return await self.write(entry)

    def entry(self, name: str, kind: Kind, state: State, *, attempt: int = 0) -> Entry:
        """An entry of this run, with the next number."""
        return Entry(self.job.id, self.job.generation, name, self.machine.next_seq(), kind, state, attempt=attempt)

    async def write(self, entry: Entry) -> Recorded:
        """Write an entry, and what ought to go with it; the machine has it afterwards."""
        machine = self.machine
        buffered = self.buffered() if machine.buffered else None
        if machine.noted:
            await self._note()
        journal = self._provider.records if entry.taken is None else self._provider.takes
        if buffered:
            told = await asyncio.gather(*map(journal.put, buffered), journal.put(entry))  # in one journal: in order
            recorded = told[-1]
        else:
            recorded = await journal.put(entry)
        self.asked = self.asked or recorded.asked
        machine.add(as_step(entry, recorded.due_at))
        return recorded

    def buffered(self) -> list[Entry]:
        """What has been left to be written with the next entry."""
        steps, self.machine.buffered = self.machine.buffered, []
        return [
            Entry(
                self.job.id, self.job.generation, step.name, step.seq, step.kind, step.state,  # type: ignore[arg-type]
                ended_at=step.ended_at, due_at=step.due_at, detail=step.detail, outcome=bytes(step.outcome).decode(),
            )
            for step in steps
        ]  # fmt: skip

    async def flush(self) -> None:
        """Write what is still left to be written."""
        buffered = self.buffered()
        if self.machine.noted:
            await self._note()
        if buffered:
            await asyncio.gather(*map(self._provider.records.put, buffered))

    async def _note(self) -> None:
        """Write what the run says of itself, which has changed."""
        self.machine.noted = False
        await self._provider.drive(note, self.job.id, self.job.generation, self.machine.attributes)


def as_step(entry: Entry, due_at: float | None) -> Step:
    """An entry as it stands in the database now."""
    outcome = NOTHING if entry.outcome is None else msgspec.Raw(entry.outcome.encode())
    return Step(
        entry.name, entry.seq, entry.kind, entry.state, entry.attempt, entry.started_at, entry.ended_at, due_at,
        False, entry.detail, outcome,
    )  # fmt: skip


def told(error: BaseException, reason: str = "") -> StepError:
    """What is recorded of an error."""
    return StepError(type(error).__name__, storable(str(error))[:MESSAGE_CHARS_MAX], reason)


def encoded(value: object, step: str) -> str | None:
    """A step's result as it is recorded. Raises InvalidInput, naming the step; an ending, which is none."""
    if isinstance(value, Ending):
        raise value
    return None if value is None else encode(value, field=step, bytes_max=limits.STEP_RESULT_BYTES_MAX)
