"""Decisions about the fleet, as values."""

from __future__ import annotations

from ..core import limits
from .model import WORKER_CONNECTIONS, Connections, Memory, Turn

BUSY_SECONDS = 5.0
"""When to look again at a chore that another worker is doing."""

SAFE_SECONDS = 30.0
"""The same while a crash loop pauses it."""


def turn(memory: Memory, me: int) -> Turn:
    """Whether this worker does a chore of a period now. One that was begun and not ended, by a worker that is gone or
    by this one, has failed: whatever ended that run may end the next."""
    if not memory.mine:
        return Turn(False, BUSY_SECONDS)
    if memory.running_on is not None and not memory.left_cleanly:
        if memory.runs and memory.running_on != me:
            return Turn(False, BUSY_SECONDS)
        return Turn(False, crashed=True)
    if memory.due_in > 0:
        return Turn(False, memory.due_in)
    if memory.crashes >= limits.CRASHES_MAX:
        return Turn(False, SAFE_SECONDS, paused=True)
    return Turn(True)


def shortage(found: Connections) -> str | None:
    """What is wrong with the number of connections, with the figures; None when all may have one for every job."""
    if found.own + found.slots <= found.allowed:
        return None
    workers = f"{found.workers} worker{'s keep' if found.workers != 1 else ' keeps'} {found.own} connections"
    own = f"{workers} open ({WORKER_CONNECTIONS} each), and the server allows {found.allowed}"
    if found.own > found.allowed:
        return f"{own}: raise max_connections, or run fewer workers"
    left = found.allowed - found.own
    return (
        f"{own}: of {found.slots} jobs that may run at once only {left} can keep a connection of their own; "
        "share a pool among the handlers, run fewer slots, or raise max_connections"
    )
