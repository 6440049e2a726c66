"""Compensation: which step is undone next. The last one first, each once; what has begun counts, because whether it
happened isn't known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ..core.errors import InvalidInput
from ..core.run_errors import InvalidWorkflow
from .commands import Back, Do, misfit
from .fitting import check_call
from .model import Step
from .turns import Broken, Failed, Perform, Turn


def undo_name(step: str) -> str:
    """What a step's compensation is recorded as."""
    return f"undo {step}"


def times_undone(command: Do, records: Mapping[str, Step]) -> int:
    """How often the step was undone before a rewind has forgotten that, so that it is done anew. The mark that counts
    it (``forget.sql``) has a name that no undo has: the second step of a name is its ``#2``."""
    name = command.name if isinstance(command, Back) else undo_name(command.name)
    mark = records.get(f"{name}#0")
    return 0 if mark is None else mark.attempt


def owed(steps: Sequence[Do], records: Mapping[str, Step]) -> Back | None:
    """The next compensation that hasn't been done: of the step that began last. One that failed is owed still."""
    return next(debts(steps, records), None)


def debts(steps: Sequence[Do], records: Mapping[str, Step]) -> Iterator[Back]:
    """All that haven't been done, in the order in which they would be."""
    begun = [step for step in steps if _began(records.get(step.name))]
    for step in sorted(begun, key=lambda each: records[each.name].seq, reverse=True):
        record = records.get(undo_name(step.name))
        if record is None or record.state != "done":
            yield back(step, records[step.name])


def undo(back: Back, error: BaseException, records: Mapping[str, Step]) -> Turn:
    """Carry out a compensation, unless it has given up before, or can't be called."""
    step = records.get(back.name)
    if step is not None and step.state == "failed":
        return Failed(error, unsettled=step)
    try:
        check_back(back)
    except InvalidWorkflow as mistake:
        return Broken(mistake)
    return Perform([back], None)


def check_back(back: Back) -> None:
    """Raise InvalidWorkflow where a compensation can't be called with what its step was given and has returned, which
    may have been recorded when the code was another."""
    if isinstance(unread := back.kwargs.get("result"), _Unread):
        raise unread.mistake
    work, fix = back.work, "let it take what its step was called with: give a new parameter a default, keep an old one"
    if work.bind is not None and work.run_in == "process":
        try:
            work.bind(*back.args, **back.kwargs)
        except InvalidInput as error:
            told = f"its compensation, {work.address}, can't be called with what it is given: {error}"
            raise InvalidWorkflow(told, field=back.name, fix=fix) from None
        return
    function = work.function if work.context is None else getattr(work.function, "__wrapped__", work.function)
    check_call(back.name, function, back.args, back.kwargs, context=work.context, role="compensation", fix=fix)


def over(records: Sequence[Step]) -> dict[str, Step]:
    """The records that say that a run was on its way out: where it was told to end, and what was undone. Until its code
    has come to that, it may begin nothing."""
    return {each.name: each for each in records if each.kind == "undo" or (each.kind == "cancel" and each.detail)}


def undone(steps: Sequence[Do], records: Mapping[str, Step]) -> int:
    """How many of the steps have been compensated."""
    return sum(undo_name(step.name) in records for step in steps)


def back(step: Do, record: Step) -> Back:
    """The compensation of a step, with what it returned, where it wants that and it is known."""
    undo = step.compensate
    assert undo is not None
    kwargs = dict(step.kwargs)
    if undo.wants_result:
        kwargs["result"] = _result(step, record)
    return Back(undo_name(step.name), undo.work, step.args, kwargs, retry=undo.retry, timeout=undo.timeout)


def _result(step: Do, record: Step) -> Any:
    try:
        return step.decode(record.outcome) if record.state == "done" else None
    except msgspec.MsgspecError as error:  # of a gathering that was left before it was read
        return _Unread(misfit(step.name, error))


class _Unread(msgspec.Struct, frozen=True):
    """Stands for what a step has returned and can't be read."""

    mistake: InvalidWorkflow


def _began(record: Step | None) -> bool:
    return record is not None and record.attempt > 0
