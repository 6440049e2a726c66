"""Queues: made when first named, paused and resumed, counted."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import LockTimeout
from ...core.lock_waits import tell
from ...core.op import Op, maybe, rows
from ...sql import statement
from ..bounds import Queue

ENSURE = statement("queues.ensure", lambda row: row)
FIND = statement("queues.find", lambda row: (str(row["name"]), int(row["id"])))
LIST = statement("queues.list", Queue.read)
PAUSE = statement("queues.pause", lambda row: str(row["name"]))
RESUME = statement("queues.resume", lambda row: str(row["name"]))


def ensure(names: Sequence[str]) -> Op[dict[str, int]]:
    """The ids of these queues, made if need be."""
    yield from make(names)
    return (yield from find(names))


def find(names: Sequence[str]) -> Op[dict[str, int]]:
    """The ids of those of these queues that are there. Waits for nobody."""
    return dict((yield from rows(FIND, names=list(names))))


def make(names: Sequence[str]) -> Op[None]:
    """Give each of these queues a row, if it has none. Raises LockTimeout when another transaction is doing that and
    doesn't end."""
    try:
        yield from rows(ENSURE, names=list(names))
    except LockTimeout as error:
        named = " or ".join(map(repr, names))
        tell(
            error, "queue", f"{named} is being made", field="queue", fix="enqueue in it, or let a worker make the queue"
        )
        raise


def list_queues() -> Op[list[Queue]]:
    """Every queue, by name."""
    return (yield from rows(LIST))


def pause(name: str) -> Op[bool]:
    """Let nothing more be claimed from the queue; what runs goes on. False: there is no such queue."""
    return (yield from maybe(PAUSE, name=name)) is not None


def resume(name: str) -> Op[bool]:
    """Let a paused queue be claimed from again."""
    return (yield from maybe(RESUME, name=name)) is not None
