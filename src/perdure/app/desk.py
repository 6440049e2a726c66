"""The desk: where a worker's handlers get their connections to Perdure's database, apart from those of its loops."""

from __future__ import annotations

import asyncio

from ..core import limits
from .books import Books, OwnBooks, Versions
from .client import aio, sync


class Desk:
    """What the contexts of one queue's jobs in a worker, or of one child process, do their I/O through.

    Nothing is opened before a handler asks for it: ``blocking`` has the connections for handlers in threads,
    ``awaited`` those for handlers on the loop, so many at most; who finds all in use waits, whatever other queues do.
    ``books``: where checkpoints and progress are written.
    """

    def __init__(
        self,
        url: str,
        schema: str,
        books: Books | None = None,
        *,
        versions: Versions = (),
        connections: int = limits.HANDLER_CONNECTIONS,
    ) -> None:
        self._url, self.schema, self._connections = url, schema, connections
        self.blocking = sync.Pooled(url, schema, "handler", connections)
        self.awaited = aio.Pooled(url, schema, "handler", connections)
        self.books = books or OwnBooks(lambda op: self.blocking.ask(op), versions)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.to_thread(self.blocking.close)
        await self.awaited.close()

    async def leave(self) -> None:
        """Close the connections of this event loop, which ends; there may be another one later."""
        leaving, self.awaited = self.awaited, aio.Pooled(self._url, self.schema, "handler", self._connections)
        await leaving.close()
