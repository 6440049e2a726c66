"""What a workflow's code asks for. Awaiting a command hands it to the machine, which answers from what is recorded or
has it carried out; nothing is done by a command itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from ..core.backoff import Retry
from ..core.errors import PerdureError
from ..core.run_errors import GatherFailed, InvalidWorkflow, StepFailed, StepTimeout
from .model import Close, Kind, Message, RunSpec, Step, StepError

Mode = Literal["fail_fast", "collect_all", "first_success", "quorum"]

_ERROR = msgspec.json.Decoder(StepError)


class Interrupted(BaseException):
    """Raised in a workflow that is to end: it was cancelled, or its deadline has passed. What follows in the code still
    runs, to tidy up; then the steps are compensated. ``reason`` says which of the two, ``text`` why."""

    def __init__(self, reason: Literal["cancelled", "deadline"], text: str = "") -> None:
        super().__init__(text or reason)
        self.reason, self.text = reason, text


class Maker(Protocol):
    """Who has made a command. ``turning``: the workflow's own function is running just now."""

    turning: bool

    def mistake(self, error: PerdureError) -> PerdureError: ...  # noqa: D102


class Command:
    """One thing that is recorded under its name. ``answer`` is what was recorded, once it has ended."""

    __slots__ = ("answer", "maker", "name")
    kind: ClassVar[Kind]

    def __init__(self, name: str) -> None:
        self.name = name
        self.answer: Step | None = None
        self.maker: Maker | None = None

    def __await__(self) -> Generator[Command, Any, Any]:
        if self.maker is not None and not self.maker.turning:
            raise self.maker.mistake(stray(self.name))
        return (yield self)

    def __repr__(self) -> str:
        return f"wf.{self.kind}({self.name!r}), which only the workflow's own function can await"

    @property
    def result(self) -> Any:
        """What it brought; for what was gathered. Raises what it failed with."""
        if self.answer is None:
            raise StepFailed("hasn't ended; what is gathered is read after its block", step=self.name)
        try:
            return self.read(self.answer)
        except msgspec.MsgspecError as error:
            raise misfit(self.name, error) from None

    @property
    def error(self) -> StepFailed | None:
        """What it failed with, None when it didn't."""
        if self.answer is None or self.answer.state == "done":
            return None
        return self.failure(self.answer)

    def read(self, step: Step) -> Any:
        """What the code is given for what was recorded. Raises what it failed with."""
        if step.state != "done":
            raise self.failure(step)
        return self.decode(step.outcome)

    def decode(self, outcome: msgspec.Raw) -> Any:
        """The recorded result as a value."""
        return msgspec.json.decode(outcome)

    def failure(self, step: Step) -> StepFailed:
        """The recorded error as an exception."""
        if step.state == "cancelled":
            return StepFailed("was cancelled beside others", step=step.name, kind="Cancelled", reason="cancelled")
        try:
            told = _ERROR.decode(step.outcome)
        except msgspec.MsgspecError:
            told = StepError("Unreadable", "what it failed with can't be read")
        kind = StepTimeout if told.kind == "TimeoutError" else StepFailed
        return kind(f"{told.kind}: {told.message}", step=step.name, kind=told.kind, reason=told.reason)


class Do(Command):
    """A step: call the function, and record what it returns."""

    __slots__ = ("args", "compensate", "kwargs", "retry", "timeout", "work")
    kind: ClassVar[Kind] = "step"

    def __init__(
        self,
        name: str,
        work: Work,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        retry: Retry,
        timeout: float | None,
        compensate: Undo | None = None,
    ) -> None:
        super().__init__(name)
        self.work, self.args, self.kwargs = work, args, kwargs
        self.retry, self.timeout, self.compensate = retry, timeout, compensate

    def decode(self, outcome: msgspec.Raw) -> Any:
        """The result, as the function says its type is."""
        return self.work.decode(outcome)


class Back(Do):
    """The compensation of a step."""

    __slots__ = ()
    kind: ClassVar[Kind] = "undo"


class Work(msgspec.Struct, frozen=True):
    """A function that a step calls. ``run_in``: on the loop, in a thread, in a child process, which finds it again by
    ``address``. ``decode`` makes a value of its recorded result. ``filled``: the parameter that wants the context,
    ``context``: the same, unless a child fills it in; ``bind``: what makes a task's arguments travel to a child,
    ``version``: of these. ``at_most_once``: a task says that it is never to be called again once it may have begun;
    ``retry`` and ``timeout`` (seconds) are what it declares."""

    function: Callable[..., Any]
    run_in: Literal["loop", "thread", "process"]
    address: str
    decode: Callable[[msgspec.Raw], Any]
    context: str | None = None
    filled: str | None = None
    bind: Callable[..., str] | None = None
    version: int = 1
    at_most_once: bool = False
    retry: Retry | None = None
    timeout: float | None = None


class Undo(msgspec.Struct, frozen=True):
    """How a step is compensated. ``wants_result``: its function has a parameter for what the step returned.
    ``timeout``: how long one attempt may run."""

    work: Work
    retry: Retry
    timeout: float | None = None
    wants_result: bool = False


class Sleep(Command):
    """Wait until a moment, or for a span in seconds."""

    __slots__ = ("seconds", "until")
    kind: ClassVar[Kind] = "sleep"

    def __init__(self, name: str, seconds: float | None, until: datetime | None) -> None:
        super().__init__(name)
        self.seconds, self.until = seconds, until

    def read(self, step: Step) -> None:
        """Nothing: it is over."""
        return None


class Wait(Command):
    """Wait for a signal. ``timeout`` in seconds."""

    __slots__ = ("_decode", "signal", "timeout")
    kind: ClassVar[Kind] = "signal"

    def __init__(
        self, name: str, signal: str, timeout: float | None, decode: Callable[[msgspec.Raw], Any] | None
    ) -> None:
        super().__init__(name)
        self.signal, self.timeout, self._decode = signal, timeout, decode

    def decode(self, outcome: msgspec.Raw) -> Any:
        """The payload."""
        return super().decode(outcome) if self._decode is None else self._decode(outcome)

    def refusal(self, message: Message) -> str | None:
        """Why this message can't be what is waited for, whose type it doesn't fit; None when it can. An update was
        accepted by its validator, and its sender told so."""
        if self._decode is None or message.update:
            return None
        try:
            self._decode(message.payload)
        except (msgspec.MsgspecError, PerdureError) as error:
            return f"doesn't fit the type that is waited for: {error}"
        return None


class Token(Command):
    """Make a secret by which somebody outside can answer, with a signal of this name."""

    __slots__ = ("signal",)
    kind: ClassVar[Kind] = "token"

    def __init__(self, name: str, signal: str) -> None:
        super().__init__(name)
        self.signal = signal


class Start(Command):
    """Start a child; wait for its end, or (``detached``) only for its start. ``close``: what becomes of it when its
    parent ends otherwise than by completing."""

    __slots__ = ("_decode", "close", "detached", "id", "spec")
    kind: ClassVar[Kind] = "child"

    def __init__(
        self,
        name: str,
        id: str,
        spec: RunSpec,
        *,
        close: Close,
        detached: bool,
        decode: Callable[[msgspec.Raw], Any],
    ) -> None:
        super().__init__(name)
        self.id, self.spec, self.close, self.detached, self._decode = id, spec, close, detached, decode

    def decode(self, outcome: msgspec.Raw) -> Any:
        """The child's result, or its id."""
        return self.id if self.detached else self._decode(outcome)


class Block(Command):
    """A transaction of the application's own, in which the step is recorded. ``work`` is None when the code between
    entering and leaving is the work."""

    __slots__ = ("args", "kept", "retry", "work")
    kind: ClassVar[Kind] = "transaction"

    def __init__(self, name: str, work: Work | None, args: tuple[Any, ...], *, retry: Retry) -> None:
        super().__init__(name)
        self.work, self.args, self.retry = work, args, retry
        self.kept: Any = None

    def decode(self, outcome: msgspec.Raw) -> Any:
        """What was kept, or what the function returned."""
        return super().decode(outcome) if self.work is None else self.work.decode(outcome)


class Leave:
    """The code has come to the end of a transaction's block, or an exception has."""

    def __init__(self, block: Block, error: BaseException | None) -> None:
        self.block, self.error = block, error

    def __await__(self) -> Generator[Leave, Any, Any]:
        return (yield self)


class Gather:
    """Commands carried out side by side. ``limit``: so many at a time. ``needed``: successes that are asked for;
    ``undo``: whether those that were done are compensated when the whole fails."""

    def __init__(self, members: list[Command], mode: Mode, needed: int, limit: int, undo: bool) -> None:
        self.members, self.mode, self.needed, self.limit, self.undo = members, mode, needed, limit, undo

    def __await__(self) -> Generator[Gather, Any, Any]:
        return (yield self)

    def decided(self, ended: Iterable[Step]) -> bool:
        """Whether those that have ended settle it, so that the others needn't go on. In the order of recording, so
        that a replay decides as the first time did."""
        done = failed = 0
        for step in sorted(ended, key=lambda each: each.seq):
            done, failed = done + (step.state == "done"), failed + (step.state == "failed")
            if self.mode == "fail_fast" and failed:
                return True
            if self.mode in ("first_success", "quorum") and (
                done >= self.needed or len(self.members) - failed < self.needed
            ):
                return True
        return done + failed >= len(self.members)

    def verdict(self) -> StepFailed | None:
        """What the whole has failed with, when all its members have been answered; the cause, never a sibling's
        cancellation."""
        ended = sorted((member for member in self.members if member.answer), key=lambda each: each.answer.seq)  # type: ignore[union-attr]
        errors = tuple(error for member in ended if (error := member.error) is not None and error.reason != "cancelled")
        done = sum(member.answer is not None and member.answer.state == "done" for member in ended)
        if self.mode == "collect_all" or not errors:
            return None
        if self.mode == "fail_fast":
            errors[0].others = errors[1:]
            return errors[0]
        if done >= self.needed:
            return None
        wanted = "one" if self.needed == 1 else str(self.needed)
        told = f"{done} of {len(self.members)} succeeded, {wanted} needed: {errors[0]}"
        return GatherFailed(told, kind="GatherFailed", others=errors)


def stray(name: str) -> InvalidWorkflow:
    """That the code awaits a command where no replay would come to it."""
    return InvalidWorkflow(
        "is awaited outside of the workflow's own function",
        field=name,
        fix="await it there: neither a step's function nor a task beside the workflow can do that",
    )


def misfit(step: str, error: Exception) -> InvalidWorkflow:
    """That what is recorded of a step can't be read as the type that its function declares now."""
    return InvalidWorkflow(
        f"what is recorded doesn't fit the type that the code expects now: {error}",
        field=step,
        fix="let the type read what is recorded, or have the step done again: workflows.rewind",
    )
