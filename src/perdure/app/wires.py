"""Which ways lead from a worker to its server: through a pooler or not, and what only a session of its own can do."""

from __future__ import annotations

import logging
from typing import Any

from ..fleet import rules
from ..fleet.ops import workers
from ..pg.connect import check_direct, connect
from ..pg.link import Link
from ..pg.migrate import check
from ..pg.pooled import PooledLink
from ..pg.pooler import PooledConnection
from ..runtime.patience import patiently

log = logging.getLogger("perdure.worker")


class Wires:
    """The worker's ways to its server, known once ``find`` has returned. ``who``: the worker, for its sessions' names.

    ``straight``: the URL for the heartbeat and the listener. ``listen``: whether to listen, where that can be done.
    """

    def __init__(self, url: str, schema: str, who: str, direct_url: str | None, listen: bool = True) -> None:
        self._url, self._schema, self._who, self._direct_url, self._listen = url, schema, who, direct_url, listen
        self.straight = direct_url or url
        self.pooled = False

    @property
    def sessions(self) -> bool:
        """Whether ``straight`` leads to sessions of the worker's own."""
        return not self.pooled or self._direct_url is not None

    @property
    def listens(self) -> bool:
        """Whether notifies can be had, and are wanted; otherwise the worker only polls."""
        return self._listen and self.sessions

    def find(self) -> None:
        """See whether a pooler stands before the server, and that the schema fits. On a thread: it is psycopg's
        conversation, once in a worker's life. Raises the ConfigError classes, and ServerUnavailable."""
        with connect(self._url, "maintenance") as conn:
            check(conn, schema=self._schema)
            self.pooled = isinstance(conn, PooledConnection)
            if self._direct_url is not None:
                check_direct(conn, self._direct_url)

    def links(self, *, workflows: bool) -> dict[str, Link]:
        """What the loops talk through; one more where there are workflows to run."""
        kind = PooledLink if self.pooled else Link
        purposes: dict[str, Any] = {"claim": "claim", "settle": "settle", "chores": "maintenance", "keep": "keep"}
        if workflows:
            purposes["workflows"] = "settle"
        return {name: kind(self._url, self._schema, purpose, who=self._who) for name, purpose in purposes.items()}


async def count_connections(link: Link) -> None:
    """Say so when the server may not have enough connections for everybody."""
    found = await patiently(lambda: link.run(workers.connections()))
    if (warning := rules.shortage(found)) is not None:
        log.log(logging.WARNING if found.own > found.allowed else logging.INFO, warning)
