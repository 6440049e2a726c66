"""The provider: what the runs of one worker share. Their loads and records go out in groups (``Journal``), each run
awaiting its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ParamSpec, Protocol, TypeVar

import msgspec

from ...core.op import Op
from ...jobs.handler import Context
from ...jobs.loops.journal import Journal
from ...jobs.loops.link import Link
from ...jobs.loops.minder import Minder
from ..model import Entry, History, Recorded
from ..ops.record import load, record
from .performer import Performer

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", contravariant=True)
A = TypeVar("A", covariant=True)

RECORDS_MAX = 250
"""In one write: while Postgres has these, the runs of the ones before go on to their next step."""


class Flow(Protocol):
    """A declared workflow, as its driver sees it."""

    name: str
    handle: str
    function: Callable[..., Any]

    @property
    def updates(self) -> Mapping[str, Callable[..., Any]]: ...  # noqa: D102
    def decode(self, payload: msgspec.Raw) -> dict[str, Any]: ...  # noqa: D102
    def encode(self, result: object) -> str: ...  # noqa: D102
    def bind(self, arguments: dict[str, Any]) -> str: ...  # noqa: D102


class Desk(Protocol):
    """Where transactions for steps come from. Each is open when it is entered, and commits when it is left."""

    def transaction(self) -> AbstractAsyncContextManager[Any]: ...  # noqa: D102


class Puts(Protocol[E, A]):
    """What takes entries, and has written each of them when it has answered."""

    async def put(self, entry: E) -> A: ...  # noqa: D102


class Means(Protocol):
    """By which a run is carried out, in a worker or in a child of one: see ``Provider``."""

    @property
    def loads(self) -> Puts[int, History]: ...  # noqa: D102
    @property
    def records(self) -> Puts[Entry, Recorded]: ...  # noqa: D102
    @property
    def takes(self) -> Puts[Entry, Recorded]: ...  # noqa: D102
    @property
    def performer(self) -> Performer: ...  # noqa: D102
    @property
    def desks(self) -> Callable[[Context], Desk]: ...  # noqa: D102
    def stopping(self) -> bool: ...  # noqa: D102
    async def drive(self, op: Callable[P, Op[R]], *args: P.args, **kwargs: P.kwargs) -> R: ...  # noqa: D102
    async def write(self, op: Callable[P, Op[R]], *args: P.args, **kwargs: P.kwargs) -> R: ...  # noqa: D102
    def bounds(self, error: BaseException) -> None: ...  # noqa: D102


class Provider:
    """What runs are given. ``stopping``: whether the worker drains, so that they go back between two steps."""

    def __init__(
        self,
        link: Link,
        desks: Callable[[Context], Desk],
        *,
        threads: int,
        minder: Minder,
        stopping: Callable[[], bool],
    ) -> None:
        self._link, self.desks, self.stopping, self.minder = link, desks, stopping, minder
        self.performer = Performer(threads, minder, None if minder.cleaner is None else minder.cleaner.around)
        self.loads = Journal[int, History](link, load, batch_max=200)
        self.records = Journal[Entry, Recorded](link, record, batch_max=RECORDS_MAX)
        self.takes = Journal[Entry, Recorded](link, record, together=True, batch_max=RECORDS_MAX)

    async def run(self) -> None:
        """Load and record until cancelled."""
        async with asyncio.TaskGroup() as group:
            for journal in (self.loads, self.records, self.takes):
                group.create_task(journal.run())

    async def drive(self, op: Callable[P, Op[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Drive the op of these arguments."""
        return await self._link.run(op(*args, **kwargs))

    async def write(self, op: Callable[P, Op[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same of one of several statements, which commit together."""
        return await self._link.transaction(op(*args, **kwargs))

    def bounds(self, error: BaseException) -> None:
        """Raise what ends the run here and now, if a step met a bound that is its process's, and not its own. A worker
        has none."""

    def close(self) -> None:
        """Forget the threads."""
        self.performer.close()
