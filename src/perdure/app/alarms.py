"""Alarms: the jobs by which a machine's timed transitions happen. One is enqueued with the entering of the state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ..core.endings import Snooze
from ..machines.errors import EntityNotFound, GuardRefused, IllegalTransition, TransitionConflict
from ..machines.model import Machine
from .context import Context

CLOCK = "clock"
"""Who has made a move that nobody made."""


AGAIN_MIN, AGAIN_MAX = timedelta(seconds=1), timedelta(hours=1)
"""When a guard that has said no to the clock is asked again: after the transition's own time, within these bounds."""


def alarm(machine: Machine) -> Callable[..., Any]:
    """The handler of a machine's alarms. The revision is the alarm's epoch: if the entity has moved since, it is void.
    A guard that says no is asked again later: what it waits for may come while the entity stands there.

    The move and the end of the job commit together, so that what the move enqueues is enqueued once.
    """

    async def ring(ctx: Context, id: str, event: str, revision: int) -> str:
        async with ctx.transaction() as tx:
            try:
                moved = await tx.machines.move(machine, id, event, expected=revision, by=CLOCK)
            except (IllegalTransition, TransitionConflict, EntityNotFound):
                return "void: it has moved on"
            except GuardRefused:
                after = next(
                    (each.after for each in machine.table.values() if each.event == event and each.after), AGAIN_MIN
                )
                raise Snooze(min(max(after, AGAIN_MIN), AGAIN_MAX)) from None
        return moved.state

    return ring
