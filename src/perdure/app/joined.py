"""``ctx.on(session)``: the nouns on a session of the application's own, and the end of the job in its transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ..core import check, limits
from ..core.codec import encode_result
from ..core.errors import InvalidOption
from ..core.op import Op
from ..jobs.ops.settle import complete_unheld
from ..jobs.ops.unique import once
from ..jobs.work import Claimed, End
from ..pg.borrow import AsyncBorrowed, Borrowed
from ..runtime.clock import monotonic
from .client.bound import AsyncBound, Bound
from .client.runs import AsyncInTransaction, InTransaction


class Joined(Bound):
    """The nouns in the transaction that is open on a session of yours, which stays yours; called.

    ``tell``: says to the context that its job's end has been written into a transaction that nobody here ends.
    """

    def __init__(self, borrowed: Borrowed, claimed: Claimed, tell: Callable[[], None]) -> None:
        super().__init__(InTransaction(borrowed))
        self._borrowed, self._claimed, self._tell = borrowed, claimed, tell

    def complete(self, result: object = None) -> None:
        """Write the end of the job into the transaction: whoever commits that, commits both. The handler returns then;
        if the transaction was rolled back, the job ends as the handler does.

        Raises OwnershipLost when the job isn't this handler's any more; then nothing was written. Roll back.
        """
        end = completed(self._claimed, result)
        self._tell()
        self._borrowed.change(complete_unheld(end))

    def once(self, key: str, *, lifetime: timedelta | float = limits.EFFECT_SECONDS) -> bool:
        """Whether this is the first time that the task does something for the key: True, and noted with this
        transaction, or False. As ``once`` of ``ctx.transaction()``."""
        return self._borrowed.ask(first_time(self._claimed, key, lifetime))


class AsyncJoined(AsyncBound):
    """The same, awaited."""

    def __init__(self, borrowed: AsyncBorrowed, claimed: Claimed, tell: Callable[[], None]) -> None:
        super().__init__(AsyncInTransaction(borrowed))
        self._borrowed, self._claimed, self._tell = borrowed, claimed, tell

    async def complete(self, result: object = None) -> None:
        """As ``Joined.complete``."""
        end = completed(self._claimed, result)
        self._tell()
        await self._borrowed.change(complete_unheld(end))

    async def once(self, key: str, *, lifetime: timedelta | float = limits.EFFECT_SECONDS) -> bool:
        """As ``Joined.once``."""
        return await self._borrowed.ask(first_time(self._claimed, key, lifetime))


def completed(job: Claimed, result: object) -> End:
    """The end of a job that has completed with this result. Raises what can't be encoded raises."""
    text = None if result is None else encode_result(result)
    return End(job, "completed", 1, monotonic() - job.started, text)


def first_time(job: Claimed, key: Any, lifetime: Any) -> Op[bool]:
    """Whether the job's task does something for the key for the first time in so long. Raises InvalidOption."""
    check.text("once", key, limits.KEY_CHARS_MAX)
    span = check.delay("lifetime", lifetime)
    if not span:
        raise InvalidOption("is nothing", field="lifetime", fix="give the time in which the job may run again")
    return once(job.task, key, span.total_seconds())
