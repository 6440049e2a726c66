"""What a handler is given of the job it runs: ``perdure.Context``."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, Unpack

from ..core.errors import Unsupported
from ..jobs import handler
from ..jobs.model import Enqueued, JobSpec, Options
from ..jobs.work import Claimed
from .client import verbs
from .desk import Desk


class Context(handler.Context):
    """The job that a handler runs, and what the handler may do on its behalf; injected for a parameter annotated
    ``perdure.Context``.

    What does I/O is awaited in an async handler, and blocks in any other.
    """

    __slots__ = ("_desk",)

    def __init__(self, claimed: Claimed, desk: Desk | None = None) -> None:
        super().__init__(claimed)
        self._desk = desk

    @property
    def desk(self) -> Desk:
        """The worker's connections for its handlers. Raises Unsupported where no worker runs the handler."""
        if self._desk is None:
            raise Unsupported("has no worker behind it", field="ctx", fix="let a worker run the handler")
        return self._desk

    def enqueue(self, job: JobSpec, **options: Unpack[Options]) -> Any:
        """Write one job, in a transaction of its own: an Enqueued, to be awaited in an async handler. As
        ``jobs.enqueue`` of a client."""
        spec = verbs.spec(job, options)
        if _on_a_loop():
            return self._enqueued(spec)
        return Enqueued(self.desk.blocking.enqueue(spec))

    async def _enqueued(self, spec: JobSpec) -> Enqueued:
        return Enqueued(await self.desk.awaited.enqueue(spec))

    async def leave(self) -> None:
        """Close what was opened on this event loop."""
        await self.desk.leave()


def in_child(url: str, schema: str, claimed: Claimed) -> Context:
    """The context of a job that runs in a child process of a worker."""
    return Context(claimed, _desk_of_child(url, schema))


@lru_cache(maxsize=1)
def _desk_of_child(url: str, schema: str) -> Desk:
    return Desk(url, schema)


def _on_a_loop() -> bool:
    """Whether it is an async handler that asks."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
