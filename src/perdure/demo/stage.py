"""Where a demonstration is told: a terminal, plain lines, or nowhere. The command line makes these."""

from __future__ import annotations

from typing import Protocol


class Stage(Protocol):
    """What a story needs of its stage."""

    def scene(self, title: str) -> None:
        """A new scene begins."""

    def tell(self, text: str, *, seconds: float | None = None) -> None:
        """Something has happened; ``seconds`` is how long it took, where that is of interest."""

    def bar(self, what: str, done: int, total: int) -> None:
        """So much of it is done; called again and again, at last with ``done == total``."""

    def busy(self, what: str) -> None:
        """The story waits for something; until the next call of any kind."""
