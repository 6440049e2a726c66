"""Whether a stored run would go on with the code that there is now: a replay of what it has recorded, a look at what is
owed, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from ..core.errors import PerdureError, UnknownArgument
from ..core.run_errors import Diverged, InvalidWorkflow
from .commands import Back, Interrupted
from .compensate import check_back, debts
from .machine import Dice, Machine
from .model import History
from .turns import Broken, Failed, Returned, Turn


class Flow(Protocol):
    """A declared workflow, as a replay sees it."""

    handle: str
    function: Callable[..., Any]

    def decode(self, payload: msgspec.Raw) -> dict[str, Any]: ...  # noqa: D102


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay has found of one run. ``problem``: why the code doesn't fit it; None when it does. ``foreign``: the
    app has no workflow of that name in any version, so it may be another app's."""

    id: str
    name: str
    version: int
    problem: str | None
    foreign: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A live run to be checked: its job, its workflow and version, and its arguments as JSON text."""

    job: int
    id: str
    name: str
    version: int
    input: str


class Rehearsal(Machine):
    """A run that is replayed to be looked at."""

    def debts(self) -> Iterator[Back]:
        """What would be undone if it failed, or was cancelled, where it stands."""
        return debts(self._undoable, self.steps)


def replayed(flow: Flow, history: History, payload: str, dice: Callable[[str], Dice]) -> str | None:
    """What is wrong when the code is replayed over the history; None when it would go on from there, and could undo
    what is owed. Nothing is done."""
    try:
        arguments = flow.decode(msgspec.Raw(payload.encode()))
    except PerdureError as error:
        return unfit(error)
    machine = Rehearsal(lambda wf: flow.function(**{flow.handle: wf}, **arguments), history, dice)
    try:
        turn = machine.turn()
    finally:
        machine.close()
    return _told(turn) or (None if isinstance(turn, Returned) else _owed(machine))


def _told(turn: Turn) -> str | None:
    if isinstance(turn, Broken):
        broken = turn.error
        return f"{broken}\n{broken.diff}" if isinstance(broken, Diverged) else str(broken)
    if isinstance(turn, Failed) and not isinstance(turn.error, Interrupted):
        return f"the code raises {type(turn.error).__name__}: {turn.error}"
    return None


def _owed(machine: Rehearsal) -> str | None:
    """Why compensations that are owed couldn't be called. That parks the run no sooner than it is undone."""
    found = []
    for back in machine.debts():
        try:
            check_back(back)
        except InvalidWorkflow as mistake:
            found.append(str(mistake))
    return "\n".join(found) or None


def unfit(error: PerdureError) -> str:
    """That a run's arguments aren't what its code takes, and what to do about that code."""
    gone = isinstance(error, UnknownArgument)
    fix = "keep what runs were started with, with a default" if gone else "give a new argument a default"
    return f"its arguments don't fit: {error}; {fix}, or declare the change with version=2"


def checked(plan: Plan, history: History, flows: Mapping[str, Flow], task: str, dice: Callable[[str], Dice]) -> Checked:
    """What there is to say of one live run."""
    flow, foreign = flows.get(task), False
    if flow is not None:
        problem = replayed(flow, history, plan.input, dice)
    elif foreign := all(each.rpartition("/")[0] != plan.name for each in flows):
        problem = f"the app has no workflow {plan.name}: no worker of it would run this"
    else:
        problem = f"the app has no version {plan.version} of {plan.name}: no worker of it would run this"
    return Checked(id=plan.id, name=plan.name, version=plan.version, problem=problem, foreign=foreign)
