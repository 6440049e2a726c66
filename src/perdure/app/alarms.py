"""Alarms: the jobs by which a machine's timed transitions happen. One is enqueued with the entering of the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..machines.errors import EntityNotFound, GuardRefused, IllegalTransition, TransitionConflict
from ..machines.model import Machine
from .context import Context

CLOCK = "clock"
"""Who has made a move that nobody made."""


def alarm(machine: Machine) -> Callable[..., Any]:
    """The handler of a machine's alarms. The revision is the alarm's epoch: if the entity has moved since, it is void.

    The move and the end of the job commit together, so that what the move enqueues is enqueued once.
    """

    async def ring(ctx: Context, id: str, event: str, revision: int) -> str:
        async with ctx.transaction() as tx:
            try:
                moved = await tx.machines.move(machine, id, event, expected=revision, by=CLOCK)
            except (IllegalTransition, TransitionConflict, EntityNotFound):
                return "void: it has moved on"
            except GuardRefused as refused:
                return f"refused: {refused.message}"
        return moved.state

    return ring
