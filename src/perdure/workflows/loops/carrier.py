"""The carrier: carries out one command of a run, and records what became of it; or says until when it has to wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.backoff import Again, decide
from ...core.codec import encode
from ...core.endings import Ending, Permanent, storable
from ...core.errors import ContextMissing, InvalidInput, OwnershipLost, QueueSaturated
from ...core.run_errors import CommitUnknown, WorkflowExists
from ...jobs.rules import describe, lost_early, unserved
from ...jobs.view import gist
from ...runtime import faults
from ...runtime.clock import utc_now
from ...runtime.dice import jittered, roll, secret
from ...runtime.nursery import NoChild
from ..commands import Block, Command, Do, Sleep, Start, Token, Wait
from ..model import Entry, Message, Step, StepError
from ..ops import inbox
from ..ops.record import record
from ..ops.start import spawn
from ..ops.stop import stop
from .caller import Caller
from .container import Escaped, as_failure, contained
from .provider import Means
from .recorder import Recorder, as_step, encoded, told

log = logging.getLogger("perdure.workflows")

_ENDED = {"cancelled": "WorkflowCancelled", "forgotten": "WorkflowNotFound"}
_TOLD = {"forgotten": "has ended, and what came of it isn't kept any more"}
"""What a parent is told of a child that hasn't completed."""


_DOUBT = StepError(
    "OutcomeUnknown", "it had begun, and whether it has happened isn't known; it must not run twice", "needs_review"
)
"""What is recorded of a step that was cut off and is never called again."""

UNCALLED_SECONDS = 1.0
"""How long a step waits that had begun by its record, and couldn't be called."""


@dataclass(frozen=True, slots=True)
class Parked:
    """There is nothing to do until something happens, or until then (the run's time, seconds since 1970)."""

    until: float | None


class Carrier:
    """Carries out commands for one activation. ``inbox``: messages that nobody has taken."""

    def __init__(self, provider: Means, recorder: Recorder, context: Any) -> None:
        self._provider, self._records, self._context = provider, recorder, context
        self.caller = Caller(provider.performer, recorder, context)
        self.inbox: list[Message] = list(recorder.machine.history.messages)
        self.taken: set[int] = set()
        """Messages that steps have taken, by number: whether that is written already or not."""
        self._unsure: list[Step] = []
        """What was buffered and is written in an application's transaction that hasn't committed yet."""
        self._committing: dict[str, Entry] = {}

    def carry(self, command: Command, *, stoppable: bool = False) -> Coroutine[Any, Any, Parked | None]:
        """Carry it out. None: it has ended, and is recorded."""
        step = self._records.step(command.name)
        if isinstance(command, Do):
            return self._do(command, step, stoppable)
        if isinstance(command, Wait):
            return self._wait(command, step)
        if isinstance(command, Sleep):
            return self._sleep(command, step)
        if isinstance(command, Start):
            return self._child(command, step)
        if isinstance(command, Token):
            return self._token(command)
        assert isinstance(command, Block)
        return self._block(command, step, stoppable)

    async def _token(self, command: Token) -> None:
        token = f"wf_{self._records.job.id}_{secret()}"
        await self._records.done(command, encode(token), detail=command.signal)

    async def _do(self, command: Do, step: Step | None, stoppable: bool) -> Parked | None:
        if step is not None and step.state == "retry" and not self._due(step):
            return Parked(step.due_at)
        attempt = 1 if step is None else max(step.attempt, 1) + (step.state == "retry")
        started = self._records.clock()
        once = command.work.at_most_once
        if once and step is not None and step.state == "begun":
            await self._records.failed(command, _DOUBT, attempt=attempt, started=step.started_at)
            return None
        foretold = command.compensate is not None or command.kind == "undo" or once  # what has begun may have happened
        if foretold and (step is None or step.state == "retry"):
            await self._records.pending(command, "begun", attempt=attempt, started=started)
        if faults.armed:  # asked here, and below, because a call for each step would cost
            faults.point("workflow.before_step")
        try:
            value = await self.caller.called(command, attempt, stoppable)
            if self.caller.task.cancelling() and await self.caller.calmed():
                raise asyncio.CancelledError
            if faults.armed:
                faults.point("workflow.after_step")
            outcome = encoded(value, command.name)
        except InvalidInput as error:
            reason = (
                "bad_result" if error.field is not None and error.field.startswith(command.name) else "not_retryable"
            )
            return await self._judge(command, error, attempt, started, final=reason)
        except asyncio.CancelledError as error:
            return await self._judge(command, await self.caller.born(error), attempt, started)
        except Exception as error:
            return await self._judge(command, error, attempt, started)
        await self._records.done(command, outcome, attempt=attempt, started=started)
        return None

    async def _judge(
        self, command: Do | Block, error: BaseException, attempt: int, started: float, *, final: str = ""
    ) -> Parked | None:
        """A failed attempt: when it is repeated, or that it isn't."""
        if isinstance(error, OwnershipLost | CommitUnknown):
            raise error
        once = isinstance(command, Do) and command.work.at_most_once
        if isinstance(error, NoChild):  # nothing of the step was called, nor is it charged
            if not once:
                raise error
            again = await self._records.pending(command, "retry", attempt=attempt, delay=UNCALLED_SECONDS)
            return Parked(again.due_at)
        if isinstance(error, Escaped):
            error = error.error
        await self.caller.calmed()
        if (want := unserved(error)) is not None and not once:
            raise want
        if once and not final and not isinstance(error, Permanent):
            final = "needs_review"
        self._provider.bounds(error)
        self._records.machine.buffered[:0], self._unsure = self._unsure, []  # was rolled back with the transaction
        if self._records.machine.broken is not None and command.work is not None:
            return None  # by a mistake of the code, which parks the run: nothing of this attempt is recorded
        if isinstance(error, Ending):
            final = as_failure(error) or final
        self._tell(command, attempt, error)
        took = self._records.clock() - self._records.began(command.name, started)
        verdict = None if final else decide(command.retry, attempt, error, dice=roll(), now=utc_now(), elapsed=took)
        if isinstance(verdict, Again):
            recorded = await self._records.pending(
                command, "retry", attempt=attempt, delay=verdict.after, error=told(error, verdict.why), started=started
            )
            return Parked(recorded.due_at)
        reason = final if verdict is None else verdict.reason
        await self._records.failed(command, told(error, reason), attempt=attempt, started=started)
        return None

    def _tell(self, command: Do | Block, attempt: int, error: BaseException) -> None:
        """A line for each failed attempt. What a step brings is in the timeline, and isn't told."""
        if log.isEnabledFor(logging.INFO):
            log.info(
                "run %s: step %r failed in attempt %d: %s",
                self._records.machine.id, command.name, attempt, gist(describe(error)),
                extra={"claimed": self._records.job},
            )  # fmt: skip

    async def _sleep(self, command: Sleep, step: Step | None) -> Parked | None:
        if step is None:
            due_at = None if command.until is None else command.until.timestamp()
            if command.seconds == 0 or (due_at is not None and due_at <= self._records.machine.history.now):
                self._ended_at(Step(command.name, 0, "sleep", "done"), 0.0)
                return None
            recorded = await self._records.pending(command, "waiting", delay=command.seconds, due_at=due_at)
            return Parked(recorded.due_at)
        if not self._due(step):
            return Parked(step.due_at)
        self._ended_at(step, step.due_at or 0.0)
        return None

    def _ended_at(self, step: Step, moment: float) -> None:
        """A sleep is over: that needn't be written before something else is."""
        moment = moment or self._records.machine.history.now
        seq = self._records.machine.next_seq()
        ended = Step(step.name, seq, "sleep", "done", ended_at=moment, due_at=step.due_at)
        self._records.machine.buffered.append(ended)
        self._records.machine.add(ended)

    async def _wait(self, command: Wait, step: Step | None) -> Parked | None:
        while message := next((each for each in self.inbox if each.answered and each.name == command.signal), None):
            self.inbox.remove(message)
            self.taken.add(message.id)
            if (refusal := command.refusal(message)) is not None:
                await self._refuse(message, refusal)
                continue
            await self._records.done(command, bytes(message.payload).decode(), detail=command.signal, taken=message.id)
            return None
        late = StepError("TimeoutError", f"no signal {command.signal!r} came within {command.timeout:g} s") if (
            command.timeout is not None
        ) else None  # fmt: skip
        if late is not None and (command.timeout == 0 if step is None else self._due(step)):
            await self._records.failed(command, late, detail=command.signal)
            return None
        if step is None:
            recorded = await self._records.pending(command, "waiting", delay=command.timeout, detail=command.signal)
            return Parked(recorded.due_at)
        return Parked(step.due_at)

    async def _refuse(self, message: Message, refusal: str) -> None:
        """A signal that can't be taken isn't waited for again: it stays in the inbox with the reason."""
        job = self._records.job
        await self._provider.write(inbox.answer, job.id, job.generation, message.id, storable(refusal), None)
        log.warning("run %s: the signal %r %s", self._records.machine.id, message.name, refusal, extra={"claimed": job})

    async def _child(self, command: Start, step: Step | None) -> Parked | None:
        if step is not None and step.state == "retry" and not self._due(step):
            return Parked(step.due_at)
        if step is None or step.state == "retry":
            return await self._spawned(command, 0 if step is None else step.attempt)
        child = self._records.machine.history.children.get(int(step.detail or 0))
        if child is None or child.outcome is None:
            return Parked(None)
        if child.outcome == "completed":
            await self._records.done(command, bytes(child.result).decode(), detail=step.detail)
        else:
            kind = _ENDED.get(child.outcome, "WorkflowFailed")
            text = gist(child.error) or _TOLD.get(child.outcome, child.outcome)
            await self._records.failed(command, StepError(kind, f"{command.id} {text}"), detail=step.detail)
        return None

    async def _spawned(self, command: Start, refused: int) -> Parked | None:
        """Start the child. While its queue is full and refuses it, the step is tried again, for as long as that takes:
        the run itself is in nobody's way meanwhile. ``refused``: how often it has been."""
        entry = self._records.entry(command.name, "child", "done" if command.detached else "waiting", attempt=refused)
        entry.ended_at = self._records.clock() if command.detached else None
        entry.outcome = encode(command.id) if command.detached else None
        machine = self._records.machine
        left, before = machine.buffered, self._records.buffered()
        try:
            entry.detail = str(
                await self._provider.write(spawn, entry, command.id, command.spec, command.close, before)
            )
        except QueueSaturated as full:
            machine.buffered[:0] = left
            recorded = await self._records.pending(
                command, "retry", attempt=refused + 1, delay=jittered(full.retry_after), error=told(full, "queue_full")
            )
            return Parked(recorded.due_at)
        except (ContextMissing, WorkflowExists) as error:
            machine.buffered[:0] = left
            await self._records.failed(command, told(error, "not_retryable"), attempt=refused)
            return None
        faults.point("workflow.after_spawn")
        machine.add(as_step(entry, None))
        return None if command.detached else Parked(None)

    async def _block(self, command: Block, step: Step | None, stoppable: bool) -> Parked | None:
        """A transaction with its function. It may be stopped until it is about to commit."""
        assert command.work is not None
        if step is not None and step.state == "retry" and not self._due(step):
            return Parked(step.due_at)
        attempt, started, tx = 1 if step is None else step.attempt + 1, self._records.clock(), None
        try:
            async with self._provider.desks(self._context).transaction() as tx:
                call = contained(command.work.function, tx, *command.args)
                value = await (self.caller.stoppable(command, call) if stoppable else self.caller.alone(call))
                outcome = encoded(value, command.name)
                await self.commit(command, tx, outcome, attempt, started, beside=stoppable)
        except asyncio.CancelledError as error:
            return await self.judge(command, tx, await self.caller.born(error), attempt, started)
        except Exception as error:
            return await self.judge(command, tx, error, attempt, started)
        self.committed(command)
        return None

    async def commit(
        self, command: Block, tx: Any, outcome: str | None, attempt: int, started: float, *, beside: bool = False
    ) -> None:
        """Write the record in the application's transaction, the last thing before it commits; and what is buffered,
        except ``beside`` others, whose records mustn't depend on whether this one commits."""
        entry = self._records.entry(command.name, "transaction", "done", attempt=attempt)
        entry.started_at, entry.ended_at, entry.outcome = started, self._records.clock(), outcome
        entries = [entry]
        if not beside:
            self._unsure = list(self._records.machine.buffered)
            entries = [*self._records.buffered(), entry]
        for answer in await tx.drive(record(entries)):
            if isinstance(answer, Exception):
                raise answer
            self._records.asked = self._records.asked or answer.asked
        self._committing[command.name] = entry
        faults.point("workflow.before_commit")

    def committed(self, command: Block) -> None:
        """It has committed: the machine may know."""
        faults.point("workflow.after_commit")
        self._unsure = []
        self._records.machine.add(as_step(self._committing.pop(command.name), None))

    async def judge(self, command: Block, tx: Any, error: Exception, attempt: int, started: float) -> Parked | None:
        """A block that has failed. Its connection may be gone: then Postgres was away, and not the code at fault; the
        run is loaded anew, which shows whether it has committed. But one that hasn't come to its commit, and was open
        for so long that Postgres may have ended it for that, would do the same for ever."""
        if tx is None:  # none could be had
            raise error
        if tx.lost and (command.name in self._committing or lost_early(self._records.clock() - started)):
            raise CommitUnknown(f"the connection of {command.name} is gone: {error}") from error
        return await self._judge(command, error, attempt, started)

    async def cancelled(self, commands: Sequence[Command], *also: Entry) -> None:
        """Record these as cancelled, ask their children to end, and record ``also``: all of it, or nothing."""
        entries, children = list(also), list[int]()
        for command in commands:
            step = self._records.step(command.name)
            stays = isinstance(command, Start) and command.close == "abandon"
            if step is not None and step.kind == "child" and step.detail is not None and not stays:
                children.append(int(step.detail))
            attempt = 0 if step is None else step.attempt
            entry = self._records.entry(command.name, command.kind, "cancelled", attempt=attempt)
            entry.ended_at = self._records.clock()
            entries.append(entry)
        if not entries:
            return
        for answer in await self._provider.write(stop, [*self._records.buffered(), *entries], children):
            if isinstance(answer, Exception):
                raise answer
        for entry in entries:
            self._records.machine.add(as_step(entry, None))

    def _due(self, step: Step) -> bool:
        return step.due or (step.due_at is not None and step.due_at <= self._records.machine.history.now)
