"""``ctx.transaction()``: a block in which a handler writes what is to commit with the end of its job."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Protocol

import psycopg

from ..core.errors import Unsupported
from ..jobs.work import Claimed
from .desk import Desk
from .open import AsyncHandlerTransaction, AsyncOpen, HandlerTransaction, Keeps, Mark, Open


class Owner(Keeps, Protocol):
    """The context of the job: its transaction, while one is open."""

    opened: Open | AsyncOpen | None

    @property
    def claimed(self) -> Claimed: ...  # noqa: D102
    @property
    def desk(self) -> Desk: ...  # noqa: D102


class Block:
    """One block: ``async with`` on the loop, ``with`` in a thread or a child process.

    The first block of a handler opens the transaction, and an error that leaves it rolls all of it back. Those after it
    go on in the same transaction, as savepoints, also within another block: an error rolls back what this block has
    written. Only at the end of the outermost one may the job go on from a checkpoint.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._savepoint: Any = None
        self._mark: Mark = (False, False, 0)

    def __enter__(self) -> HandlerTransaction:
        """Open it, or go on in it. Raises OwnershipLost when the job isn't this handler's any more."""
        if on_a_loop():
            raise Unsupported("would stop the event loop", field="ctx.transaction", fix="enter it with `async with`")
        opened = self._owner.opened
        if opened is None:
            opened = Open(self._owner)
            opened.begin(self._owner.claimed, self._owner.desk)
            self._owner.opened = opened
        else:
            assert isinstance(opened, Open)
            self._savepoint = opened.transaction.connection.transaction()
            self._savepoint.__enter__()
        opened.blocks += 1
        self._mark = opened.mark()
        return opened.transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Leave it open for the end of the job; after an error, roll back what the block has written."""
        opened = self._owner.opened
        assert isinstance(opened, Open)
        opened.blocks -= 1
        if self._savepoint is not None and self._savepoint.__exit__(kind, error, trace):
            error = None
        if error is not None:
            opened.forget(self._mark)
        if error is not None and self._savepoint is None:
            self._owner.opened, lost = None, opened.lost(error)
            opened.rollback()
            if lost is not None:
                raise lost from error
            return _wanted(error)
        if error is None and opened.goes_on and not opened.blocks:
            self._owner.opened = None
            opened.commit()
        return error is None

    async def __aenter__(self) -> AsyncHandlerTransaction:
        """Open it, or go on in it. Raises OwnershipLost when the job isn't this handler's any more."""
        opened = self._owner.opened
        if opened is None:
            opened = self._owner.opened = AsyncOpen(self._owner)
            try:
                await opened.begin(self._owner.claimed, self._owner.desk)
            except BaseException:
                self._owner.opened = None
                raise
        elif not hasattr(opened, "transaction"):
            raise Unsupported("is being opened elsewhere", field="ctx.transaction", fix="enter one block at a time")
        else:
            assert isinstance(opened, AsyncOpen)
            self._savepoint = opened.transaction.connection.transaction()
            await self._savepoint.__aenter__()
        opened.blocks += 1
        self._mark = opened.mark()
        return opened.transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Leave it open for the end of the job; after an error, roll back what the block has written."""
        opened = self._owner.opened
        assert isinstance(opened, AsyncOpen)
        opened.blocks -= 1
        if self._savepoint is not None and await self._savepoint.__aexit__(kind, error, trace):
            error = None
        if error is not None:
            opened.forget(self._mark)
        if error is not None and self._savepoint is None:
            self._owner.opened, lost = None, opened.lost(error)
            await opened.rollback()
            if lost is not None:
                raise lost from error
            return _wanted(error)
        if error is None and opened.goes_on and not opened.blocks:
            self._owner.opened = None
            await opened.commit()
        return error is None


def on_a_loop() -> bool:
    """Whether it is an async handler that asks."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _wanted(error: BaseException) -> bool:
    """Whether somebody only wanted the block rolled back, and said so as one does with psycopg."""
    return isinstance(error, psycopg.Rollback)
