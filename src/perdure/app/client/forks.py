"""Clients in a process that was forked from the one that has used them: gunicorn --preload, multiprocessing.

The sockets of their connections are shared then. Whoever of the two uses or closes one ends or garbles the other's
conversation, so the child leaves all of them alone, and opens its own when it needs one.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Leaves(Protocol):
    """What has connections, and lets go of them in a child without closing one: it returns them."""

    def leave(self) -> object: ...  # noqa: D102


_watched: WeakSet[Leaves] = WeakSet()
_left: list[object] = []
"""The parent's: kept, because whatever is forgotten is closed."""


def watch(each: Leaves) -> None:
    """Have it leave its connections in every child of this process."""
    _watched.add(each)


def _forked() -> None:
    _left.extend([each.leave() for each in list(_watched)])


os.register_at_fork(after_in_child=_forked)
