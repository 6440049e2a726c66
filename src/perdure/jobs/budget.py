"""What a worker keeps for each of its queues: connections for handlers, and how many retries it runs. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from ..core import check, limits
from ..core.errors import InvalidOption

PUT_OFF: Final = "put off: the retry budget of its queue is spent"
"""What the attempt log says of a retry that the budget holds back."""


UNSERVED: Final = "put off: its worker had no connection for its handler"
"""What the attempt log says of a job that was given none of those connections, and was charged nothing."""


CHILDLESS: Final = "put off: no child process could begin it"
"""What the attempt log says of a job whose handler was never called for want of a process, and was charged nothing."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one queue's handlers may use in one process. ``connections``: to Perdure's database, on the loop and as many
    in threads; ``retries``: retries for each job that completes, None for as many as there are."""

    connections: int = limits.HANDLER_CONNECTIONS
    retries: float | None = None


def budget(connections: object, retries: object) -> Budget:
    """The budget as it was declared; None where it wasn't. Raises InvalidOption."""
    given = check.number("connections", limits.HANDLER_CONNECTIONS if connections is None else connections, 1_000)
    if retries is not None and (
        isinstance(retries, bool)
        or not isinstance(retries, int | float)
        or not math.isfinite(retries)
        or not 0 <= retries <= 1
    ):
        raise InvalidOption(
            f"{retries!r} is not allowed", field="retry_budget", fix="give 0 to 1: retries for each job that completes"
        )
    return Budget(given, None if retries is None else float(retries))


@dataclass(slots=True)
class RetryBudget:
    """How many retries may be run now. Each completed job adds ``share`` of one, each retry takes one. A trickle comes
    by itself, so that retries find out that what they depend on is back when nothing else would. Seconds of any
    monotonic clock."""

    share: float
    left: float = limits.RETRIES_AT_FIRST
    _at: float | None = field(default=None)

    def completed(self) -> None:
        """A job has completed."""
        self.left = min(self.left + self.share, limits.RETRIES_SAVED_MAX)

    def spend(self, now: float) -> bool:
        """Whether a retry may be run now; it is counted as run."""
        trickled = 0.0 if self._at is None else (now - self._at) * limits.RETRIES_PER_SECOND
        self._at = now
        self.left = min(self.left + trickled, limits.RETRIES_SAVED_MAX)
        if self.left < 1:
            return False
        self.left -= 1
        return True
