"""Declare: make the database's table of transitions what the code says."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.op import Op, Row, one, rows
from ...sql import statement
from ..errors import InvalidMachine
from ..model import Machine


def _as_it_is(row: Row) -> Row:
    return row


PUT = statement("machines.put", _as_it_is)
STRAYS = statement("machines.strays", lambda row: str(row["state"]))
PUT_STATES = statement("machines.put_states", _as_it_is)
PUT_TRANSITIONS = statement("machines.put_transitions", _as_it_is)


def declare(machines: Sequence[Machine]) -> Op[None]:
    """Write these machines; drive it in one transaction. The last declaration of a name holds.

    Raises InvalidMachine when entities stand in a state that a new declaration doesn't have.
    """
    for machine in sorted(machines, key=lambda each: each.name):
        yield from one(PUT, machine=machine.name, initial=machine.initial)
        strays = yield from rows(STRAYS, machine=machine.name, states=list(machine.states))
        if strays:
            raise InvalidMachine(
                f"entities stand in {', '.join(strays)}, which isn't declared any more",
                field=f"machine {machine.name}",
                fix="keep the state, with a transition that leads out of it, until they have left",
            )
        seconds = [machine.stuck_after[state].total_seconds() if state in machine.stuck_after else None
                   for state in machine.states]  # fmt: skip
        yield from rows(PUT_STATES, machine=machine.name, states=list(machine.states), stuck=seconds)
        edges = list(machine.table.items())
        yield from rows(
            PUT_TRANSITIONS,
            machine=machine.name,
            sources=[source for (source, _), _ in edges],
            events=[event for (_, event), _ in edges],
            targets=[each.target for _, each in edges],
            afters=[each.after.total_seconds() if each.after is not None else None for _, each in edges],
        )
