"""Queues: made when first named, paused and resumed, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ...core.op import Op, maybe, rows
from ...sql import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue and how many jobs stand in each of its places. ``oldest_seconds``: age of the oldest ready job."""

    name: str
    paused_at: datetime | None
    ready: int
    scheduled: int
    leased: int
    held: int
    dead: int
    oldest_seconds: float | None


ENSURE = statement("queues.ensure", lambda row: row)
FIND = statement("queues.find", lambda row: (str(row["name"]), int(row["id"])))
LIST = statement("queues.list", lambda row: Queue(**row))
PAUSE = statement("queues.pause", lambda row: str(row["name"]))
RESUME = statement("queues.resume", lambda row: str(row["name"]))


def ensure(names: Sequence[str]) -> Op[dict[str, int]]:
    """The ids of these queues, made if need be."""
    yield from rows(ENSURE, names=list(names))
    return dict((yield from rows(FIND, names=list(names))))


def list_queues() -> Op[list[Queue]]:
    """Every queue, by name."""
    return (yield from rows(LIST))


def pause(name: str) -> Op[bool]:
    """Let nothing more be claimed from the queue; what runs goes on. False: there is no such queue."""
    return (yield from maybe(PAUSE, name=name)) is not None


def resume(name: str) -> Op[bool]:
    """Let a paused queue be claimed from again."""
    return (yield from maybe(RESUME, name=name)) is not None
