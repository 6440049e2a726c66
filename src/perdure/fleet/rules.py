"""Decisions about the fleet, as values."""

from __future__ import annotations

from .model import WORKER_CONNECTIONS, Connections


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
