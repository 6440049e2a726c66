"""What a noun drives its ops on: a connection somebody else owns, or one of the client's own pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from ...core.errors import Unsupported
from ...core.op import Op
from ...jobs.model import JobSpec
from ...jobs.ops.enqueue import enqueue
from ...pg.borrow import AsyncBorrowed, Borrowed

P = ParamSpec("P")
R = TypeVar("R")


class Runs(Protocol):
    """``ask``: each statement as it comes. ``look``: an op that only reads, so that it may be asked again on another
    connection when the first one breaks. ``change``: the op's statements together. ``enqueue``: one job's id."""

    def ask(self, op: Op[R]) -> R: ...  # noqa: D102
    def look(self, ask: Callable[P, Op[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...  # noqa: D102
    def change(self, op: Op[R]) -> R: ...  # noqa: D102
    def enqueue(self, spec: JobSpec) -> int: ...  # noqa: D102
    def refuse_wait(self) -> None: ...  # noqa: D102

    waits: bool
    """Whether nothing is held up by waiting here: no transaction is open."""


class AsyncRuns(Protocol):
    """The same, awaited."""

    async def ask(self, op: Op[R]) -> R: ...  # noqa: D102
    async def look(self, ask: Callable[P, Op[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...  # noqa: D102
    async def change(self, op: Op[R]) -> R: ...  # noqa: D102
    async def enqueue(self, spec: JobSpec) -> int: ...  # noqa: D102
    def refuse_wait(self) -> None: ...  # noqa: D102

    waits: bool


class InTransaction:
    """The transaction that is open on a borrowed connection."""

    waits = False

    def __init__(self, borrowed: Borrowed) -> None:
        self.ask = borrowed.ask
        self.change = borrowed.change

    def look(self, ask: Callable[P, Op[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Ask once: what breaks under a transaction ends it."""
        return self.ask(ask(*args, **kwargs))

    def enqueue(self, spec: JobSpec) -> int:
        """Write it now, with this transaction."""
        return self.ask(enqueue([spec]))[0]

    def refuse_wait(self) -> None:
        """A job can't end before the transaction that enqueues it has."""
        raise _endless()


class AsyncInTransaction:
    """The same, awaited."""

    waits = False

    def __init__(self, borrowed: AsyncBorrowed) -> None:
        self.ask = borrowed.ask
        self.change = borrowed.change

    async def look(self, ask: Callable[P, Op[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Ask once: what breaks under a transaction ends it."""
        return await self.ask(ask(*args, **kwargs))

    async def enqueue(self, spec: JobSpec) -> int:
        """Write it now, with this transaction."""
        return (await self.ask(enqueue([spec])))[0]

    def refuse_wait(self) -> None:
        """A job can't end before the transaction that enqueues it has."""
        raise _endless()


def _endless() -> Unsupported:
    return Unsupported(
        "can't be waited for inside a transaction: no worker sees what it has written before it commits",
        field="wait",
        fix="commit first, then ask the client: client.jobs.wait(id), client.workflows.wait(id) or .update(id, …)",
    )
