"""The link: what loops ask of a connection."""

from __future__ import annotations

from typing import Protocol, TypeVar

from ...core.op import Op

R = TypeVar("R")


class Link(Protocol):
    """A connection that is made again when it breaks. ``transaction``: the op's statements commit together."""

    async def run(self, op: Op[R]) -> R:
        """Drive the op; each statement commits by itself."""
        ...

    async def transaction(self, op: Op[R]) -> R:
        """Drive the op in one transaction."""
        ...
