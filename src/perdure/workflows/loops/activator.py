"""The activator: one activation of one run, from its load to the end of its job's claim."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from ...core.codec import encode
from ...core.endings import born_inside
from ...core.errors import InvalidInput, OwnershipLost, PerdureError, TransientError
from ...core.run_errors import InvalidWorkflow, StepFailed
from ...jobs.handler import Context
from ...jobs.rules import describe
from ...jobs.view import gist
from ...jobs.work import End
from ...runtime.clock import monotonic
from ...runtime.dice import seeded
from ..check import unfit
from ..commands import Block, Interrupted
from ..ends import RunEnd, moment
from ..machine import Machine
from ..model import History, Step
from ..ops.after import follow
from ..turns import Broken, Continue, Enter, Exit, Failed, Foreign, Interrupt, Perform, Returned, Turn
from .answerer import Answerer
from .carrier import Carrier, Parked
from .container import Escaped, taken_back
from .gatherer import Gatherer
from .provider import Flow, Means
from .recorder import Recorder, encoded
from .refuser import Refuser

log = logging.getLogger("perdure.workflows")

BUSY_SECONDS = 0.25
"""A turn of a workflow's code that keeps the loop for longer is reported."""


async def activate(means: Means, flow: Flow, ctx: Context, payload: msgspec.Raw) -> End:
    """Replay the run and go on with it, until it ends or has nothing to do. Returns how its job ends."""
    job = ctx.claimed
    try:
        arguments = flow.decode(payload)
    except PerdureError as error:
        text = unfit(error)
        log.error("run of %s, job %d, is parked: %s", flow.name, job.id, text)
        return RunEnd(job, "held", 0, text=text, reason="invalid", key=str(job.id), then=follow)
    history = await means.loads.put(job.id)
    return await Activator(means, flow, ctx, arguments, history).run()


class Unrecorded(Exception):
    """Rolls back a transaction that is left without its record."""


class _Passed:
    """Awaits what the workflow's code awaits inside its transaction."""

    def __init__(self, awaited: Any) -> None:
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self._awaited)


class Activator:
    """One activation."""

    def __init__(self, provider: Means, flow: Flow, ctx: Context, arguments: dict[str, Any], history: History) -> None:
        self._provider, self._flow, self._ctx = provider, flow, ctx
        self._job = ctx.claimed
        machine = Machine(lambda wf: flow.function(**{flow.handle: wf}, **arguments), history, seeded)
        self._machine = machine
        self._records = Recorder(provider, self._job, machine)
        self._carrier = Carrier(provider, self._records, ctx)
        self._refuser = Refuser(self._bounded)
        self._block = AsyncExitStack()
        self._begun: tuple[int, float] = (1, 0.0)
        self._tx: Any = None
        self._stop: asyncio.CancelledError | None = None
        """A cancellation that came while the code awaited something inside a block: the code's own, or the run's."""

    async def run(self) -> End:
        """Until the run ends, or has nothing to do; how its job ends."""
        end = await self._run()
        end.elapsed = monotonic() - self._job.started
        return end

    async def _run(self) -> End:
        try:
            if self._machine.history.paused:
                return self._held("paused", str(self._job.id))
            await self._heed()
            while True:
                turn = self._turn()
                if self._stop is not None and not isinstance(turn, Foreign):
                    await self._stopped()
                parked = await self._carry(turn)
                if isinstance(parked, End):
                    return parked
                if parked is not None:
                    await self._records.flush()
                    return self._wait(parked)
                if self._provider.stopping() and self._tx is None:
                    return self._back("drained")
                if self._tx is None and self._asked() and (held := await self._look_up()) is not None:
                    return held
        except OwnershipLost as error:
            log.warning("run %s: %s", self._machine.id, error)
            return self._back("lost")
        except TransientError as error:  # nobody's fault: nothing is charged, and what was recorded stands
            log.warning("run %s is loaded anew: %s", self._machine.id, error)
            return self._back("unknown_commit")
        finally:
            if self._tx is not None:  # it was stopped, or parked, inside of a block that hasn't come to its record
                await self._roll_back(Unrecorded("the run goes on from before the block"))
            self._machine.close()

    def _turn(self) -> Turn:
        began = monotonic()
        turn = self._refuser.during(self._machine.turn) if self._tx is None else self._machine.turn()
        if (took := monotonic() - began) > BUSY_SECONDS:
            log.warning(
                "the code of %s kept the event loop for %.2f s before %s: do what blocks in a step",
                self._flow.name, took, _place(turn),
            )  # fmt: skip
        end = self._machine.end
        if isinstance(end, Failed):
            self._provider.bounds(end.error)
        return turn

    def _bounded(self) -> Exception:
        return self._machine.mistake(InvalidWorkflow(
            "bounds or cancels what it awaits by this process's clock, which a replay can't repeat",
            field=self._machine.id,
            fix="give the step or the wait its timeout=, start the run with a deadline, put steps side by side with "
            "wf.gather; asyncio.timeout and TaskGroup are for the functions of steps and the blocks of transactions",
        ))  # fmt: skip

    def _carry(self, turn: Turn) -> Coroutine[Any, Any, Parked | End | None]:
        if isinstance(turn, Perform):
            if turn.gather is None:
                return self._carrier.carry(turn.commands[0])
            return Gatherer(self._provider, self._records, self._carrier, turn.gather, self._halts).carry()
        if isinstance(turn, Foreign):
            return self._foreign(turn)
        if isinstance(turn, Enter):
            return self._enter(turn.block)
        if isinstance(turn, Exit):
            return self._exit(turn)
        if isinstance(turn, Interrupt):
            return self._interrupt(turn)
        if isinstance(turn, Returned):
            return self._returned(turn.value)
        return self._failed(turn) if isinstance(turn, Failed) else self._mistaken(turn)

    # Being told to look up: a cancel, a pause, an update.

    def _asked(self) -> bool:
        if self._records.asked:
            return True
        if self._machine.interrupt is not None or "cancel" in self._machine.steps:
            return False
        deadline = self._machine.history.deadline_at
        return self._ctx.cancelled or (deadline is not None and self._records.clock() >= deadline)

    def _halts(self) -> bool:
        return self._provider.stopping() or self._machine.broken is not None or self._asked()

    async def _look_up(self) -> End | None:
        self._records.asked = False
        history = await self._provider.loads.put(self._job.id)
        current = self._machine.history
        current.cancel, current.paused, current.now = history.cancel, history.paused, history.now
        current.messages, current.children = history.messages, history.children
        if history.paused:
            return self._held("paused", str(self._job.id))
        self._carrier.inbox = list(history.messages)
        await self._heed()
        return None

    async def _heed(self) -> None:
        """Answer updates; note that the run is to end."""
        history = self._machine.history
        if any(not message.answered for message in history.messages):
            self._carrier.inbox = await Answerer(self._provider, self._flow, self._job, self._machine).answer(
                self._carrier.inbox
            )
        if "cancel" in self._machine.steps:
            return
        if history.cancel is not None or self._job.cancelled or self._ctx.cancelled:
            self._machine.interrupt = Interrupted("cancelled", history.cancel or "")
        elif history.deadline_at is not None and history.now >= history.deadline_at:
            self._machine.interrupt = Interrupted("deadline", "the run's deadline has passed")

    async def _interrupt(self, turn: Interrupt) -> None:
        stop = self._machine.interrupt
        assert stop is not None
        outcome = encode([stop.reason, stop.text])
        told = self._records.entry("cancel", "cancel", "done")
        told.ended_at, told.outcome, told.detail = self._records.clock(), outcome, turn.anchor
        rest = [
            each for each in turn.commands if (step := self._records.step(each.name)) is not None and not step.ended
        ]
        await self._carrier.cancelled(rest, told)
        self._machine.interrupt = None

    # Transactions.

    async def _enter(self, block: Block) -> Parked | None:
        step = self._records.step(block.name)
        if step is not None and step.due_at is not None and not step.due:
            return Parked(step.due_at)
        self._begun = (1 if step is None else step.attempt + 1, self._records.clock())
        self._tx = await self._block.enter_async_context(self._provider.desks(self._ctx).transaction())
        self._machine.entered(self._tx)
        return None

    async def _exit(self, turn: Exit) -> Parked | None:
        tx = self._tx
        attempt, started = self._begun
        try:
            error = asyncio.CancelledError() if await self._carrier.caller.calmed() else turn.error
            if error is not None:
                raise _of_block(error)
            await self._carrier.commit(turn.block, tx, encoded(tx.kept, turn.block.name), attempt, started)
            await self._block.aclose()
        except Exception as error:
            await self._roll_back(error)
            parked = await self._carrier.judge(turn.block, tx, error, attempt, started)
            if parked is None:
                step = self._machine.steps[turn.block.name]
                self._leave(step, turn.block.failure(step))
            return parked
        self._tx = None
        self._carrier.committed(turn.block)
        step = self._machine.steps[turn.block.name]
        turn.block.kept = turn.block.read(step)
        self._leave(step, None)
        return None

    def _leave(self, step: Step, error: StepFailed | None) -> None:
        self._machine.passed(step)
        self._machine.left(error)

    async def _roll_back(self, error: Exception) -> None:
        block, self._block, self._tx = self._block, AsyncExitStack(), None
        try:
            await block.__aexit__(type(error), error, error.__traceback__)
        except Exception as again:
            log.debug("while a transaction was rolled back: %s", again)

    async def _foreign(self, turn: Foreign) -> None:
        try:
            await _Passed(turn.awaited)
        except asyncio.CancelledError as error:  # a time-out of the code's, say: only the code knows
            self._stop = error
            self._machine.resumed(error)
        except GeneratorExit:
            raise
        except BaseException as error:  # a SystemExit, too: the block is where that is judged
            self._machine.resumed(error)
        else:
            self._machine.resumed()

    async def _stopped(self) -> None:
        """The code has had its cancellation. One that it hadn't brought about itself ends the activation."""
        stop, task, self._stop = self._stop, asyncio.current_task(), None
        if stop is not None and task is not None and not await taken_back(task, self._ctx):
            raise stop

    # How the activation ends.

    def _wait(self, parked: Parked) -> End:
        history = self._machine.history
        until = parked.until
        if history.deadline_at is not None and "cancel" not in self._machine.steps:
            until = history.deadline_at if until is None else min(until, history.deadline_at)
        wake_at = None if until is None else moment(until - history.skew)
        return RunEnd(self._job, "waiting", 0, wake_at=wake_at, then=follow)

    async def _returned(self, value: Any) -> End:
        await self._records.flush()
        if isinstance(value, Continue):
            try:
                payload = self._flow.bind(value.arguments)
            except PerdureError as error:
                return self._broken(Broken(error))
            return RunEnd(self._job, "waiting", 0, then=follow, anew=payload)
        try:
            result = None if value is None else self._flow.encode(value)
        except InvalidInput as error:
            return self._dead("bad_result", str(error))
        return RunEnd(self._job, "completed", 1, result=result, then=follow)

    async def _failed(self, turn: Failed) -> End:
        await self._records.flush()
        error = turn.error
        text = describe(error)
        if turn.unsettled is not None:
            step = turn.unsettled
            text = f"{text}\nthe compensation {step.name!r} failed: {bytes(step.outcome).decode()}"
            return self._dead("compensation_failed", text, step.name, level=logging.ERROR)
        if isinstance(error, Interrupted):
            if error.reason == "cancelled":
                return RunEnd(self._job, "cancelled", 1, text=error.text or "cancelled", then=follow)
            return self._dead("deadline", error.text)
        name = _culprit(error)
        return self._dead("compensated" if turn.compensated else "failed", text, name)

    def _dead(self, reason: str, text: str, step: str | None = None, level: int = logging.WARNING) -> End:
        where = "" if step is None else f" at {step!r}"
        log.log(
            level, "run %s of %s has failed (%s)%s: %s", self._machine.id, self._flow.name, reason, where, gist(text),
            extra={"claimed": self._job},
        )  # fmt: skip
        return RunEnd(self._job, "dead", 1, text=text, reason=reason, then=follow, failed_step=step)

    async def _mistaken(self, turn: Broken) -> End:
        return self._broken(turn)

    def _broken(self, turn: Broken) -> End:
        error = turn.error
        text = f"{error}\n{error.diff}" if hasattr(error, "diff") else str(error)
        log.error("run %s of %s is parked: %s", self._machine.id, self._flow.name, text)
        return self._held("diverged" if hasattr(error, "diff") else "invalid", str(self._job.id), text)

    def _held(self, reason: str, key: str, text: str | None = None) -> End:
        return RunEnd(self._job, "held", 0, text=text, reason=reason, key=key, then=follow)

    def _back(self, reason: str) -> End:
        return RunEnd(self._job, "returned", 0, reason=reason)


def _place(turn: Turn) -> str:
    """Where the code has come to, by the names of what it asks for; what it returns is nobody's business."""
    asked = [turn.block] if isinstance(turn, Enter | Exit) else getattr(turn, "commands", ())
    return ", ".join(each.name for each in asked) or "its end"


def _of_block(error: BaseException) -> Exception:
    """What has left a block, as a failure."""
    if isinstance(error, Exception):
        return error
    return born_inside("block", error) if isinstance(error, asyncio.CancelledError) else Escaped(error)


def _culprit(error: BaseException | None) -> str | None:
    """The step whose failure it was, also where the code has raised an error of its own for it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, StepFailed):
            return error.step or (error.others[0].step if error.others else None)
        error = error.__cause__ or error.__context__
    return None
