"""The desk: where a worker's handlers get their connections to Perdure's database, apart from those of its loops."""

from __future__ import annotations

import asyncio

from .books import Books, OwnBooks, Versions
from .client import aio, sync


class Desk:
    """What the contexts of one worker, or of one child process, do their I/O through.

    Nothing is opened before a handler asks for it: ``blocking`` has the connections for handlers in threads,
    ``awaited`` those for handlers on the loop. ``books``: where checkpoints and progress are written.
    """

    def __init__(self, url: str, schema: str, books: Books | None = None, *, versions: Versions = ()) -> None:
        self._url, self.schema = url, schema
        self.blocking = sync.Pooled(url, schema, "handler")
        self.awaited = aio.Pooled(url, schema, "handler")
        self.books = books or OwnBooks(lambda op: self.blocking.ask(op), versions)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.to_thread(self.blocking.close)
        await self.awaited.close()

    async def leave(self) -> None:
        """Close the connections of this event loop, which ends; there may be another one later."""
        leaving, self.awaited = self.awaited, aio.Pooled(self._url, self.schema, "handler")
        await leaving.close()
