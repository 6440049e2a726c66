"""The product's own settler and recoverer, driven by hand: what they send is a deed of an actor, and what they wait for
is somebody else's turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable, MutableMapping, Sequence
from contextlib import suppress
from inspect import getgeneratorlocals
from math import inf
from typing import Any, TypeVar, cast
from unittest.mock import patch

from perdure.core.errors import DatabaseError
from perdure.core.op import Op
from perdure.jobs.loops.pacer import Pacer
from perdure.jobs.loops.settler import Settler
from perdure.jobs.work import End, Lease
from tests.sim.deed import Deed, Script
from tests.sim.truth import Judge, Model, nothing, settled, settled_free

R = TypeVar("R")

READS = ("held_leases", "traced", "generations", "leases")
"""Ops of theirs that only read."""


class Wire:
    """The connection they are given: each op becomes the deed of whoever drives them."""

    async def run(self, op: Op[R]) -> R:
        """Drive the op; each statement commits by itself."""
        return cast(R, await _Asked(_deed(op, together=False)))

    async def transaction(self, op: Op[R]) -> R:
        """Drive the op in one transaction."""
        return cast(R, await _Asked(_deed(op, together=True)))


class _Asked:
    def __init__(self, deed: Deed) -> None:
        self._deed = deed

    def __await__(self) -> Generator[Deed, Any, Any]:
        return (yield self._deed)


def _deed(op: Op[Any], *, together: bool) -> Deed:
    name: str = op.__name__  # type: ignore[attr-defined]
    return Deed(name, op, _judge(name, getgeneratorlocals(op)), together=together, reads=name in READS)


def _judge(name: str, said: dict[str, Any]) -> Judge | None:
    if name == "settle":
        return settled(said["ends"])
    return settled_free(said["ends"]) if name == "settle_free" else nothing


def driven(work: Coroutine[Any, Any, None]) -> Script:
    """The deeds the coroutine asks for; None while it waits for something else."""
    told: Any = None
    error: DatabaseError | None = None
    try:
        while True:
            asked = work.send(told) if error is None else work.throw(error)
            told = error = None
            if isinstance(asked, Deed):
                try:
                    told = yield asked
                except DatabaseError as thrown:
                    error = thrown
                continue
            yield None
            while asked is not None and not asked.done():
                yield None
    except StopIteration:
        return
    finally:
        with suppress(asyncio.CancelledError, StopIteration, RuntimeError):
            work.throw(asyncio.CancelledError())  # closed only, a generator within it would stay behind
        work.close()


class _Turn:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def _sleep(seconds: float) -> None:
    await _Turn()


def without_timers() -> Any:
    """While this context is entered, who sleeps only lets others go first."""
    return patch.object(asyncio, "sleep", _sleep)


class Clerk(Settler):
    """The settler of one worker, whose beliefs the model looks at."""

    def __init__(self, model: Model, wire: Wire, worker: Callable[[], int], leases: MutableMapping[int, Lease]) -> None:
        super().__init__(wire, worker, leases, lambda: None, Pacer(wire, worker, 0))
        self._model = model
        self._traced: dict[tuple[int, int], str] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, except what was put aside."""
        return self.waiting == len(self._blocked)

    def hurry(self) -> bool:
        """Try what was put aside again, whenever that would have been due; whether there is any."""
        self._blocked_until = 0.0
        if self._blocked:
            self._wake.set()
        return bool(self._blocked)

    def _put_aside(self, blocked: list[End], ends: Iterable[End]) -> None:
        super()._put_aside(blocked, ends)
        self._blocked_until = inf  # until somebody hurries; the clock of this machine is nobody's here

    def cut(self) -> None:
        """The connection has led to another server, and nothing was sent since."""
        self._cut = True

    async def _tried(self, ends: list[End], emptied: Any, free: bool, doubtful: bool) -> tuple[list[End], list[End]]:
        self._traced = None
        stale, blocked = await super()._tried(ends, emptied, free, doubtful)
        self._model.concluded([end for end in ends if end not in blocked], stale, self._traced)
        return stale, blocked

    async def _untraced(self, stale: Sequence[End], doubtful: bool) -> list[End]:
        self._traced = {**self._model.settled}
        return await super()._untraced(stale, doubtful)
