"""A handler's own transaction: it holds the job, so that rescue leaves it alone, until the handler has ended.

If the job has completed, that is written into it and all of it is committed; otherwise it is rolled back.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import psycopg

from ..core import limits
from ..core.endings import Ending
from ..core.errors import OwnershipLost, RolledBack, TransientError
from ..jobs.ops.checkpoints import save
from ..jobs.ops.settle import complete, hold
from ..jobs.rules import lost_early
from ..jobs.saves import Save
from ..jobs.work import Claimed, End
from ..pg.drive import adrive, drive
from ..pg.errors import translate
from ..runtime import faults
from ..runtime.clock import monotonic
from .client.bound import AsyncTransaction, Transaction, lent
from .desk import Desk
from .joined import first_time


class Keeps(Protocol):
    """The context's checkpoints: how many steps were reached, the next one to be written, and what became durable."""

    steps: int

    def entry(self, value: object) -> Save: ...  # noqa: D102
    def written(self, advanced: bool, steps: int) -> None: ...  # noqa: D102


E = TypeVar("E", bound=Exception)

Mark: TypeAlias = tuple[bool, bool, int]
"""What an open transaction had saved at a moment."""


class _Saves:
    """What an open transaction has saved, and on which connection. ``goes_on``: what it has written is to be committed
    at the end of the outermost block, because the job goes on from there. ``blocks``: how many are open."""

    _conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

    def __init__(self, keeps: Keeps) -> None:
        self.keeps = keeps
        self.goes_on = self._advanced = False
        self._steps = self.blocks = 0
        self._began = monotonic()

    def saved(self, answer: bool | Exception) -> None:
        """A checkpoint was written, and counts once it is committed."""
        if isinstance(answer, Exception):
            raise answer
        self.goes_on, self._advanced, self._steps = True, self._advanced or answer, self.keeps.steps

    def mark(self) -> Mark:
        """What has been saved so far."""
        return self.goes_on, self._advanced, self._steps

    def forget(self, mark: Mark) -> None:
        """What a block has saved since then was rolled back."""
        self.goes_on, self._advanced, self._steps = mark

    def lost(self, error: BaseException) -> RolledBack | None:
        """What the failure of the outermost block is when its connection is gone, whatever the handler has made of
        that: Postgres was away. None for what the handler says of its job, and for a block that was open for too long.
        """
        if not self._conn.closed or not isinstance(error, Exception) or isinstance(error, Ending | OwnershipLost):
            return None
        if not lost_early(monotonic() - self._began):
            return None
        return blameless(RolledBack(f"the connection of ctx.transaction() is gone: {error}"))

    def _committed(self) -> None:
        if self.goes_on:
            self.keeps.written(self._advanced, self._steps)


class Open(_Saves):
    """A handler's open transaction, in a thread or a child process."""

    def begin(self, claimed: Claimed, desk: Desk) -> None:
        """Open the transaction, and hold the job in it. Raises OwnershipLost."""
        self._schema = desk.schema
        try:
            with ExitStack() as stack:
                conn = self._conn = stack.enter_context(desk.blocking.connection())
                self._rollback = psycopg.Rollback(stack.enter_context(conn.transaction()))
                drive(conn, hold(claimed), desk.schema)
                self.transaction = stack.enter_context(lent(HandlerTransaction(conn, desk.schema, claimed, self)))
                self._stack = stack.pop_all()
        except Exception as error:
            _raise_ours(error)

    def commit(self) -> None:
        """Commit, without an end of the job."""
        try:
            self._stack.close()
        except Exception as error:
            _raise_ours(error)
        self._committed()

    def rollback(self) -> None:
        """Roll back; the connection goes back clean, or is closed."""
        self._stack.__exit__(type(self._rollback), self._rollback, None)

    def conclude(self, end: End) -> End:
        """Write a completed end, and commit."""
        if end.verdict != "completed":
            self.rollback()
            return end
        try:
            drive(self.transaction.connection, complete(end), self._schema)
        except OwnershipLost:
            self.rollback()
            return end  # it is refused again where ends are settled, counted and logged
        except BaseException:
            self.rollback()
            raise
        faults.point("handler.before_commit")
        self.commit()
        faults.point("handler.after_commit")
        end.written = "yes"
        return end


class AsyncOpen(_Saves):
    """The same, on the loop."""

    async def begin(self, claimed: Claimed, desk: Desk) -> None:
        """Open the transaction, and hold the job in it. Raises OwnershipLost."""
        self._schema = desk.schema
        try:
            async with AsyncExitStack() as stack:
                conn = self._conn = await stack.enter_async_context(desk.awaited.connection())
                self._rollback = psycopg.Rollback(await stack.enter_async_context(conn.transaction()))
                await adrive(conn, hold(claimed), self._schema)
                self.transaction = stack.enter_context(lent(AsyncHandlerTransaction(conn, self._schema, claimed, self)))
                self._stack = stack.pop_all()
        except Exception as error:
            _raise_ours(error)

    async def commit(self) -> None:
        """Commit, without an end of the job."""
        try:
            await self._stack.aclose()
        except Exception as error:
            _raise_ours(error)
        self._committed()

    async def rollback(self) -> None:
        """Roll back; the connection goes back clean, or is closed."""
        await self._stack.__aexit__(type(self._rollback), self._rollback, None)

    async def conclude(self, end: End) -> End:
        """Write a completed end, and commit."""
        if end.verdict != "completed":
            await self.rollback()
            return end
        try:
            await adrive(self.transaction.connection, complete(end), self._schema)
        except OwnershipLost:
            await self.rollback()
            return end
        except BaseException:
            await self.rollback()
            raise
        faults.point("handler.before_commit")
        await self.commit()
        faults.point("handler.after_commit")
        end.written = "yes"
        return end


class HandlerTransaction(Transaction):
    """The nouns, and ``connection`` (psycopg), in the transaction of a handler."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str, claimed: Claimed, opened: Open) -> None:
        super().__init__(connection, schema)
        self._schema, self._claimed, self._opened = schema, claimed, opened

    def once(self, key: str, *, lifetime: timedelta | float = limits.EFFECT_SECONDS) -> bool:
        """Whether this is the first time that the task does something for the key: True, and noted with this
        transaction, or False. Who asks for the same key at the same moment waits for this transaction.

        ``lifetime`` (seconds, or a timedelta): how long it is remembered. Raises InvalidOption.
        """
        return drive(self.connection, first_time(self._claimed, key, lifetime), self._schema)

    def checkpoint(self, value: object) -> None:
        """Save how far the job has come, in one commit with what this block has written: it is made at the end of the
        block, because the job goes on. Raises what ``ctx.checkpoint`` raises."""
        entry = self._opened.keeps.entry(value)
        self._opened.saved(drive(self.connection, save([entry]), self._schema)[0])


class AsyncHandlerTransaction(AsyncTransaction):
    """The nouns, awaited, and ``connection`` (psycopg), in the transaction of a handler."""

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], schema: str, claimed: Claimed, opened: AsyncOpen
    ) -> None:
        super().__init__(connection, schema)
        self._schema, self._claimed, self._opened = schema, claimed, opened

    async def once(self, key: str, *, lifetime: timedelta | float = limits.EFFECT_SECONDS) -> bool:
        """As ``HandlerTransaction.once``."""
        return await adrive(self.connection, first_time(self._claimed, key, lifetime), self._schema)

    async def checkpoint(self, value: object) -> None:
        """As ``HandlerTransaction.checkpoint``."""
        entry = self._opened.keeps.entry(value)
        self._opened.saved((await adrive(self.connection, save([entry]), self._schema))[0])


def blameless(error: E) -> E:
    """The error, marked as nothing that the handler's job is charged for, if Postgres may do better another time."""
    if isinstance(error, TransientError):
        error.of_worker = True
    return error


def _raise_ours(error: Exception) -> NoReturn:
    """Raise what has met a statement of ours, at the beginning or at the end of the transaction."""
    ours = translate(error)
    if ours is None:
        raise blameless(error)
    raise blameless(ours) from error
