"""The machine: replays a workflow's function over what its run has recorded, and says what is needed next.

It awaits nothing and touches nothing: the function is driven by hand, each command it awaits is answered from the
history, and the first one that isn't there is handed out as a ``Turn``. Whoever drives the machine carries it out, adds
what became of it with ``add``, and turns it again. So a run can be replayed with a stored history and no database.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from ..core import codec, limits
from ..core.errors import InvalidInput, PerdureError
from ..core.run_errors import Diverged, InvalidWorkflow, WorkflowError
from .commands import Block, Command, Do, Gather, Interrupted, Leave, misfit
from .compensate import over, owed, undo, undo_name, undone
from .divergence import diverged, mismatch
from .handle import Done, Workflow
from .model import History, Step
from .turns import AT_END, Broken, Continue, Enter, Exit, Failed, Foreign, Interrupt, Perform, Returned, Turn

ASIDE = frozenset({"patch", "cancel", "undo"})
"""Records that no command of the code asks for."""


class Dice(Protocol):
    """Dice that fall the same way at each replay."""

    def random(self) -> float: ...  # noqa: D102
    def getrandbits(self, k: int, /) -> int: ...  # noqa: D102


class Machine:
    """One run, being replayed. ``function`` is called with the handle and makes the coroutine.

    ``buffered``: records that ought to be written with the next one; they can be made again if they are lost.
    """

    def __init__(
        self,
        function: Callable[[Workflow], Coroutine[Any, Any, Any]],
        history: History,
        dice: Callable[[str], Dice],
    ) -> None:
        self.history, self.id, self.round = history, history.id, history.round
        self.steps = {step.name: step for step in history.steps}
        self.attributes: dict[str, Any] = dict(history.attributes)
        self.buffered: list[Step] = []
        self.noted = self.cancelled = self.past_pivot = False
        self.interrupt: Interrupted | None = None
        """Set by the driver: thrown at the next thing that isn't recorded."""
        self._left = {name: step for name, step in self.steps.items() if step.kind not in ASIDE}
        self._over = over(history.steps) if len(self._left) < len(self.steps) else {}
        self._seq = max((step.seq for step in history.steps), default=0)
        self._now, self._dice = history.created_at, dice
        self._seeded: dict[str, Dice] = {}
        self._counts: dict[str, int] = {}
        self._works: dict[str, tuple[str, str]] = {}
        self._patches: dict[str, bool] = {}
        self.unawaited: dict[str, Command] = {}
        self._undoable: list[Do] = []
        self._open: Block | None = None
        self._asked: Any = None
        self._answer: Any = None
        self._error: BaseException | None = None
        self._handed: Command | None = None
        """What was handed out to be carried out, by itself."""
        self.end: Returned | Failed | None = None
        self.broken: PerdureError | None = None
        self.turning = False
        self._continued: Continue | None = None
        self._coroutine = function(Workflow(self))

    # What the driver calls.

    def turn(self) -> Turn:
        """Go on until something is needed that isn't recorded, or until the end."""
        while self.end is None:
            if self._asked is None:
                self._go()
                continue
            turn = self._consider(self._asked)
            if turn is not None:
                return turn
        return self._finish(self.end)

    def add(self, step: Step) -> None:
        """Take what has been recorded."""
        self.steps[step.name] = step
        self._seq = max(self._seq, step.seq)
        if step.kind not in ASIDE:
            self._left[step.name] = step

    def entered(self, tx: object) -> None:
        """The transaction that was asked for is open: go on inside its block."""
        self._open, self._answer, self._asked = self._asked, tx, None

    def left(self, error: BaseException | None = None) -> None:
        """The transaction has ended; ``error`` is what its failure is to the code."""
        self._open, self._error, self._asked = None, error, None

    def passed(self, step: Step) -> None:
        """The code has gone past this record without asking for it."""
        self._pass(step)

    def resumed(self, error: BaseException | None = None) -> None:
        """What was awaited inside a transaction is there, or has failed."""
        self._error, self._asked = error, None

    def next_seq(self) -> int:
        """The number of the next record."""
        self._seq += 1
        return self._seq

    def mistake(self, error: PerdureError) -> PerdureError:
        """Remember what is wrong with the code, which mightn't let it out."""
        self.broken = error
        return error

    def close(self) -> None:
        """Let go of the function, wherever it stands; what its ``finally`` blocks ask for is refused."""
        try:
            self._coroutine.close()
        except BaseException as error:  # a finally that awaits, or raises: nothing of it is carried out
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise

    # What the handle calls, on behalf of the code.

    def name(self, base: str, kind: str, work: object = None) -> str:
        """The next name of this base: ``charge``, then ``charge#2``."""
        if self._open is not None:
            raise self.mistake(InvalidWorkflow(
                f"stands inside the transaction {self._open.name!r}", field=base, fix="end the transaction first"
            ))  # fmt: skip
        address = (kind, getattr(work, "address", ""))
        if self._works.setdefault(base, address) != address:
            raise self.mistake(InvalidWorkflow(
                f"is {' '.join(self._works[base])} first and {' '.join(address)} later",
                field=base, fix="give each its own name",
            ))  # fmt: skip
        count = self._counts[base] = self._counts.get(base, 0) + 1
        return base if count == 1 else f"{base}#{count}"

    def now(self) -> datetime:
        """When the last thing that was waited for had ended."""
        return datetime.fromtimestamp(self._now, UTC)

    def random(self) -> float:
        """A draw from [0, 1)."""
        return self._seed().random()

    def bits(self, count: int) -> int:
        """So many random bits."""
        return self._seed().getrandbits(count)

    def patched(self, name: str) -> bool:
        """Whether the run goes the new way: it has been recorded, or nothing recorded is left."""
        if name not in self._patches:
            record = f"patch {name}"
            self._patches[name] = record in self.steps or not (self._left or self._over)
            if self._patches[name] and record not in self.steps:
                step = Step(record, self.next_seq(), "patch", "done", ended_at=self._now)
                self.steps[record] = step
                self.buffered.append(step)
        return self._patches[name]

    def pivot(self) -> None:
        """No way back from here."""
        self.past_pivot = True
        self._undoable.clear()

    def note(self, values: dict[str, Any]) -> None:
        """Take attributes; what they were before is no news."""
        changed = {**self.attributes, **values}
        try:
            codec.encode(changed, field="attributes", bytes_max=limits.RUN_ATTRIBUTES_BYTES_MAX)
        except InvalidInput as error:
            raise self.mistake(error) from None
        if not self._left and changed != self.attributes:
            self.noted = True
        self.attributes = changed

    def continued(self, arguments: dict[str, Any]) -> object:
        """What the code returns to begin anew."""
        self._continued = Continue(arguments)
        return self._continued

    # The replay itself.

    def _go(self) -> None:
        """Let the code run to the next thing it awaits, or to its end."""
        answer, error = self._answer, self._error
        self._answer = self._error = None
        self.turning = True
        try:
            self._asked = self._coroutine.send(answer) if error is None else self._coroutine.throw(error)
        except StopIteration as done:
            self.end = Returned(done.value)
        except BaseException as raised:  # whatever it is, it is how the code ended
            self.end = Failed(raised)
        self.turning = False

    def _consider(self, asked: Any) -> Turn | None:
        """Answer what the code awaits, or say what is needed for that."""
        if self.broken is not None:
            return Broken(self.broken)
        handed = self._handed
        if asked is handed and handed is not None and (step := self.steps.get(handed.name)) and step.ended:
            return self._answered(handed, step)  # it has been considered
        if isinstance(asked, Gather):
            return self._consider_gather(asked)
        if isinstance(asked, Command):
            return self._consider_command(asked)
        if isinstance(asked, Leave):
            return self._leave(asked)
        if self._open is not None:
            return Foreign(asked)
        return Broken(InvalidWorkflow(
            f"the code awaits {asked!r}, which isn't recorded",
            field=self.id, fix="do it in a step, wait with wf.sleep or wf.signal, and gather steps by wf.gather",
        ))  # fmt: skip

    def _consider_command(self, command: Command) -> Turn | None:
        self.unawaited.pop(command.name, None)
        self._remember(command)
        if (stop := self._stopped_at(command.name)) is not None:
            self._raise(stop)
            return None
        step = self.steps.get(command.name)
        odd = bool(self._left or self._over) if step is None else step.kind != command.kind or not step.ended
        if odd and (wrong := self._mismatch([command])) is not None:
            return wrong
        if step is not None and step.ended:
            return self._answered(command, step)
        if self._interrupted():
            return Interrupt([command], command.name)
        if step is None and len(self.steps) >= limits.RUN_STEPS_MAX:
            self._raise(self._too_long())
            return None
        if isinstance(command, Block) and command.work is None:
            return Enter(command)
        self._handed = command
        return Perform([command], None)

    def _consider_gather(self, gather: Gather) -> Turn | None:
        members, anchor = gather.members, f"gather {gather.members[0].name}"
        for member in members:
            self._remember(member)
            self.unawaited.pop(member.name, None)
        if (stop := self._stopped_at(anchor)) is not None:
            for member in members:
                self._left.pop(member.name, None)
            self._raise(stop)
            return None
        if (wrong := self._mismatch(members)) is not None:
            return wrong
        steps = [self.steps.get(member.name) for member in members]
        if all(step is not None and step.ended for step in steps):
            return self._gathered(gather)
        if self._interrupted():
            return Interrupt(members, anchor)
        if len(members) > limits.GATHER_MEMBERS_MAX:
            return Broken(self._too_long())
        if len(self.steps) + steps.count(None) > limits.RUN_STEPS_MAX:
            self._raise(self._too_long())
            return None
        return Perform(members, gather)

    def _gathered(self, gather: Gather) -> Turn | None:
        for member in gather.members:
            member.answer = self.steps[member.name]
        self._pass(*(self.steps[member.name] for member in gather.members))
        failure = gather.verdict()
        if failure is not None and gather.undo:
            undoable = [each for each in gather.members if isinstance(each, Do) and each.compensate is not None]
            for each in undoable:
                self._over.pop(undo_name(each.name), None)
            done = [each for each in undoable if self.steps[each.name].state == "done"]
            if (back := owed(done, self.steps)) is not None:
                return undo(back, failure, self.steps)
        self._asked, self._answer, self._error = None, None, failure
        return None

    def _answered(self, command: Command, step: Step) -> Turn | None:
        """Give the code what is recorded."""
        command.answer = step
        self._pass(step)
        self._asked = None
        try:
            if isinstance(command, Block) and command.work is None:
                command.kept = command.read(step)
                self._answer = Done()
            else:
                self._answer = command.read(step)
        except msgspec.MsgspecError as error:
            return Broken(misfit(step.name, error))
        except PerdureError as error:
            self._error = error
        return None

    def _leave(self, leave: Leave) -> Turn | None:
        """The end of a transaction's block: of one that is open, or of one that was done before."""
        if self._open is leave.block:
            return Exit(leave.block, leave.error)
        self._asked = None
        return None

    def _mismatch(self, commands: Sequence[Command]) -> Broken | None:
        error = mismatch(commands, self.steps, [*self._left.values(), *self._over.values()])
        return None if error is None else Broken(error)

    def _finish(self, end: Returned | Failed) -> Turn:
        """The end of the code; after a failure, the compensations come first."""
        if self.broken is not None:
            return Broken(self.broken)
        error = end.error if isinstance(end, Failed) else None
        if isinstance(error, Diverged | InvalidInput):
            return Broken(error)
        if error is None and (stop := self._stopped_at(AT_END)) is not None:
            self.end = end = Failed(error := stop)  # what the code has returned is nobody's
        if left := [*self._left.values(), *(self._over.values() if error is None else ())]:
            return Broken(diverged("", "", left, error))
        if isinstance(end, Returned) and self.unawaited:
            name = next(iter(self.unawaited))
            fix = f"await wf.{self.unawaited[name].kind}(…), or enter it, or what gathers it, by async with"
            return Broken(InvalidWorkflow("was never awaited", field=name, fix=fix))
        if isinstance(end, Returned) and self._continued is not None and end.value is not self._continued:
            return Broken(InvalidWorkflow(
                "was called and not returned", field="continue_as_new", fix="return wf.continue_as_new(…)"
            ))  # fmt: skip
        if error is None and self._interrupted():
            return Interrupt([], AT_END)
        if error is not None and not self.past_pivot:
            if (back := owed(self._undoable, self.steps)) is not None:
                return undo(back, error, self.steps)
            return Failed(error, compensated=undone(self._undoable, self.steps))
        return end

    def _remember(self, command: Command) -> None:
        """Note a step that can be compensated, once, in the order in which the code comes to them."""
        if not isinstance(command, Do) or command.compensate is None or self.past_pivot:
            return
        if all(each is not command for each in self._undoable):
            self._undoable.append(command)

    def _stopped_at(self, name: str) -> Interrupted | None:
        """What was thrown here the first time, if it was here that the run was told to end."""
        cancel = self.steps.get("cancel")
        if self.cancelled or cancel is None or cancel.detail != name:
            return None
        reason, text = msgspec.json.decode(cancel.outcome, type=tuple[str, str])
        self.cancelled, self.interrupt = True, None
        self._left.pop(name, None)
        self._over.pop("cancel", None)
        return Interrupted("deadline" if reason == "deadline" else "cancelled", text)

    def _interrupted(self) -> bool:
        """Whether the run is to be told to end here. Past the pivot it isn't, and that is recorded."""
        stop = self.interrupt
        if stop is None or not self.past_pivot:
            return stop is not None
        self.interrupt = None
        told = msgspec.Raw(codec.encode([stop.reason, "past the pivot, so it goes on"]).encode())
        refused = Step("cancel", self.next_seq(), "cancel", "done", ended_at=self.history.now, outcome=told)
        self.steps["cancel"] = refused
        self.buffered.append(refused)
        return False

    def _raise(self, error: BaseException) -> None:
        """Let the code have this error."""
        self._asked, self._error = None, error

    def _too_long(self) -> WorkflowError:
        return WorkflowError(
            f"records more than {limits.RUN_STEPS_MAX:,} steps, or gathers more than {limits.GATHER_MEMBERS_MAX:,}",
            id=self.id,
            field=self.id,
            fix="return wf.continue_as_new(…) before that, or give parts to children",
        )

    def _pass(self, *steps: Step) -> None:
        """These are behind us."""
        for step in steps:
            self._left.pop(step.name, None)
            self._now = max(self._now, step.ended_at or 0.0)

    def _seed(self) -> Dice:
        seed = self.history.seed(self._left.values())
        if seed not in self._seeded:
            self._seeded[seed] = self._dice(seed)
        return self._seeded[seed]
