"""When a transaction is replayed, and after which pause: decisions, for both colours of ``client.run``.

Postgres ends one of two transactions that stand in each other's way, and has then kept nothing of it. To repeat the
statement that failed would be wrong: what it was told was read in a transaction that doesn't exist any more. So the
whole function runs again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final

from ...core import limits
from ...core.backoff import Retry, delay
from ...core.errors import InvalidOption, LockTimeout, RolledBack, TransactionConflict

log = logging.getLogger("perdure.transaction")

CONFLICT: Final = Retry(base=0.02, cap=1.0)
LOCKED: Final = Retry(base=0.5, cap=5.0)
"""Who wasn't given a lock in time has met a queue, which a quick return would only lengthen."""

_COUNTED: Mapping[str, str] = {
    "40P01": "deadlocks",
    "40001": "serialization_failures",
    "55P03": "lock_timeouts",
}


class Contention:
    """How often transactions stood in each other's way, by kind; counted whether or not they were replayed."""

    def __init__(self) -> None:
        self.counts = Counter(dict.fromkeys(_COUNTED.values(), 0))

    def met(self, state: str | None) -> str | None:
        """Count it; the kind, None when it is none of them."""
        kind = _COUNTED.get(state or "")
        if kind is not None:
            self.counts[kind] += 1
        return kind


class Replay:
    """The attempts of one ``run``."""

    def __init__(self, attempts: int, contention: Contention) -> None:
        if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= limits.REPLAYS_MAX:
            raise InvalidOption(
                f"{attempts!r} is not allowed", field="attempts", fix=f"give 1 (no replay) to {limits.REPLAYS_MAX}"
            )
        self._attempts, self._contention, self._made = attempts, contention, 0

    def pause(self, error: Exception, dice: float) -> float:
        """Seconds to wait before the next attempt. ``dice`` is from [0, 1).

        Raises TransactionConflict or LockTimeout when it was the last attempt, and the error itself when it is none
        that a replay could mend.
        """
        state = state_of(error)
        kind = self._contention.met(state)
        if kind is None and not isinstance(error, RolledBack):
            raise error
        self._made += 1
        if self._made >= self._attempts:
            if kind is None or self._attempts == 1:
                raise error
            last = LockTimeout if state == "55P03" else TransactionConflict
            raise last(
                f"was run {self._attempts} times, and each time something stood in its way: {error}",
                sqlstate=state,
                field="transaction",
                fix="make it shorter, lock rows in one order everywhere, or give more attempts",
            ) from error
        pause = delay(LOCKED if state == "55P03" else CONFLICT, self._made, dice)
        log.warning("a transaction will be replayed in %.3f s (%s): %s", pause, kind or "connection lost", error)
        return pause


def state_of(error: BaseException) -> str | None:
    """The SQLSTATE of ours, of a driver's, or of a driver's that a library has wrapped."""
    for each in (error, getattr(error, "orig", None), error.__cause__):
        state = getattr(each, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None
