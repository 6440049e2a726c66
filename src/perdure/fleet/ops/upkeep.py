"""Taking turns at housekeeping: one worker at a time does a chore, and what became of it is remembered.

A chore is done in a transaction that holds its lock; the lock goes with the transaction, and with the worker. One of a
period is begun in a transaction of its own before, so that a run that ends its worker, or its connection, is known to
the next one. What jobs wait for is done whenever it is found, and remembered only when it fails, and now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar

from ...core import limits
from ...core.op import Op, Row, maybe, one, rows
from ...sql import statement
from .. import rules
from ..model import Chore, Done, Memory, Setback, Turn

R = TypeVar("R")

NOTE_SECONDS = 60.0
"""How old the last success that is remembered may become before another one is noted."""


def _memory(row: Row) -> Memory:
    return Memory(**{field.name: row[field.name] for field in fields(Memory)})


TAKE = statement("fleet.take_chore", _memory)
BEGIN = statement("fleet.begin_chore", lambda row: str(row["name"]))
END = statement("fleet.end_chore", lambda row: str(row["name"]))
FAIL = statement("fleet.fail_chore", lambda row: Setback(row["failures"], row["due_in"], row["parked"]))
CHORES = statement("fleet.chores", lambda row: Chore(**row))
UNPARK = statement("fleet.unpark_chore", lambda row: str(row["name"]))


def take(chore: str, *, lock_ms: int | None = None, pausable: bool = False) -> Op[Memory]:
    """Take the chore's lock for this transaction, if nobody has it.

    ``lock_ms``: how long the transaction may wait for a lock, because others will wait behind it; None for what the
    session allows.
    """
    timeout = None if lock_ms is None else f"{lock_ms}ms"
    window = limits.CRASH_WINDOW_SECONDS
    return (yield from one(TAKE, chore=chore, lock_timeout=timeout, pausable=pausable, window=window))


def begin(chore: str, me: int, period: float, *, pausable: bool = True) -> Op[Turn]:
    """In a transaction of its own: note that this worker begins a chore of a period, if it is due and nobody's.
    ``pausable``: a crash loop keeps it waiting."""
    memory = yield from take(chore, pausable=pausable)
    turn = rules.turn(memory, me)
    if turn.crashed:
        told = f"worker {memory.running_on} ended, or lost its connection, while it did this"
        setback = yield from fail(chore, told, parks=True)
        return Turn(False, setback.due_in, crashed=True)
    if turn.now and (yield from maybe(BEGIN, chore=chore, worker=me, period=period, seen=memory.running_on)) is None:
        return Turn(False, rules.BUSY_SECONDS)  # somebody has done it since the memory was read
    return turn


def do(
    chore: str,
    act: Callable[[int], Op[R]],
    batch: int,
    *,
    more: Callable[[R, int], bool],
    period: float | None = None,
    lock_ms: int | None = None,
) -> Op[Done[R]]:
    """In a transaction of its own: do the chore, ``batch`` of it at most, if it is ours to do.

    ``more``: of the result and the bound it was done under, whether there is more to do.
    """
    memory = yield from take(chore, lock_ms=lock_ms)
    if not memory.mine:
        return Done(None, wait=rules.BUSY_SECONDS if period is not None else 0.0)
    if period is None and memory.due_in > 0:
        return Done(None, wait=memory.due_in)
    bound = batch if memory.batch is None else min(batch, memory.batch)
    result = yield from act(bound)
    unfinished = more(result, bound)
    if not unfinished:
        stale = memory.succeeded_ago is None or memory.succeeded_ago > NOTE_SECONDS
        if period is not None or memory.failures or stale:
            yield from one(END, chore=chore, due_in=period, batch=batch)
    return Done(result, unfinished)


def fail(
    chore: str, error: str, *, parks: bool, charge: bool = True, pause: float | None = None, halves: int | None = None
) -> Op[Setback]:
    """Note that the chore failed, or (without ``charge``) that it is put off; it waits ``pause`` seconds, longer each
    time. ``parks``: it may be parked, because no job waits for it. ``halves``: a run does half of this from now, or
    half of what it was bound to already."""
    return (
        yield from one(
            FAIL,
            chore=chore,
            error=error[: limits.ERROR_TEXT_CHARS_MAX],
            charge=int(charge),
            pause=limits.CHORE_PAUSE_SECONDS if pause is None else pause,
            pause_max=limits.CHORE_PAUSE_SECONDS_MAX,
            failures_max=limits.CHORE_FAILURES_MAX,
            parked_seconds=limits.CHORE_PARKED_SECONDS if parks else None,
            halves=halves,
        )
    )


def list_chores() -> Op[list[Chore]]:
    """What is remembered of every chore, by name."""
    return (yield from rows(CHORES))


def unpark(chore: str) -> Op[bool]:
    """Let the chore be tried again at once. False: nothing is remembered of such a chore."""
    return (yield from maybe(UNPARK, chore=chore)) is not None
