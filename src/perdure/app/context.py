"""What a handler is given of the job it runs: ``perdure.Context``."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Unpack, overload

from ..core.errors import Unsupported
from ..jobs.model import JobSpec, Options
from ..jobs.work import Claimed, End
from ..pg.borrow import AsyncBorrowed, Borrowed, borrow
from .block import Block, on_a_loop
from .books import Versions
from .client.jobs import AsyncJobs, Jobs
from .desk import Desk
from .joined import AsyncJoined, Joined
from .open import AsyncOpen, Open
from .saving import Saving

if TYPE_CHECKING:
    from .client.bound import AsyncConnections, SyncConnections


class Context(Saving):
    """The job that a handler runs, and what the handler may do on its behalf; injected for a parameter annotated
    ``perdure.Context``.

    What does I/O is awaited in an async handler, and blocks in any other.
    """

    __slots__ = ("_desk", "opened", "told")

    def __init__(self, claimed: Claimed, desk: Desk | None = None) -> None:
        super().__init__(claimed, None if desk is None else desk.books)
        self._desk, self.told = desk, False
        self.opened: Open | AsyncOpen | None = None
        """The transaction of ``transaction()``, while it is open."""

    @property
    def desk(self) -> Desk:
        """The worker's connections for its handlers. Raises Unsupported where no worker runs the handler."""
        if self._desk is None:
            raise Unsupported("has no worker behind it", field="ctx", fix="let a worker run the handler")
        return self._desk

    def transaction(self) -> Block:
        """A block whose writes commit together with the end of the job: ``async with ctx.transaction() as tx``, or
        ``with`` in a plain handler. ``tx`` has the nouns of a client's transaction, and ``tx.connection`` (psycopg).

        Nothing is committed at the end of the block, but when the handler has returned; then its result is in the same
        commit. A handler that raises, or asks for a retry, rolls it back. While it is open nobody else is given the
        job; so let it be the last thing a handler does, and short. Raises OwnershipLost when the job isn't this
        handler's any more, and Unsupported in a step of a workflow, where ``wf.transaction`` does that.
        """
        self.refuse_in_step("transaction", "write in wf.transaction, which commits with the record of the step")
        if self.told:
            raise Unsupported(
                "would end the job a second time: ctx.on(…).complete has written its end",
                field="ctx.transaction",
                fix="write everything in one of the two transactions",
            )
        return Block(self)

    def enqueue(self, job: JobSpec, **options: Unpack[Options]) -> Any:
        """Write one job, as ``jobs.enqueue`` of a client: an Enqueued, to be awaited in an async handler. It goes with
        the open ``transaction()``, or has one of its own."""
        opened = self.opened
        if isinstance(opened, Open):
            return opened.transaction.jobs.enqueue(job, **options)
        if isinstance(opened, AsyncOpen):
            return opened.transaction.jobs.enqueue(job, **options)
        jobs = AsyncJobs(self.desk.awaited) if on_a_loop() else Jobs(self.desk.blocking)
        return jobs.enqueue(job, **options)

    @overload
    def on(self, session: SyncConnections) -> Joined: ...

    @overload
    def on(self, session: AsyncConnections) -> AsyncJoined: ...

    def on(self, session: Any) -> Joined | AsyncJoined:
        """The nouns in the transaction that is open on a connection or session of yours, as ``on`` of a client; with
        ``complete(result)``, which writes the end of the job into it, and ``once(key)``. On an asynchronous one they
        are awaited. For handlers that live in SQLAlchemy, Django, asyncpg or psycopg. Raises Unsupported.
        """
        borrowed: Borrowed | AsyncBorrowed = borrow(session, self.desk.schema)
        if isinstance(borrowed, Borrowed):
            return Joined(borrowed, self._claimed, self._tell)
        return AsyncJoined(borrowed, self._claimed, self._tell)

    def _tell(self) -> None:
        self.refuse_in_step("on(…).complete", "return from the step: its record is its end")
        if self.opened is not None:
            raise Unsupported(
                "would wait for ctx.transaction(), which holds the job and commits its end when the handler returns",
                field="ctx.on(…).complete",
                fix="return the result, or write everything in your own session",
            )
        self.told = True

    @property
    def unfinished(self) -> bool:
        """Whether a transaction waits for the end of the job, or had it written into it."""
        return self.opened is not None or self.told

    async def conclude(self, end: End) -> End:
        """Commit it with the end, or roll it back."""
        opened, self.opened = self.opened, None
        return self._marked(await opened.conclude(end) if isinstance(opened, AsyncOpen) else end)

    def conclude_here(self, end: End) -> End:
        """The same, in a thread or a child process."""
        opened, self.opened = self.opened, None
        return self._marked(opened.conclude(end) if isinstance(opened, Open) else end)

    def _marked(self, end: End) -> End:
        """What was written into a transaction of the application's own may have been committed by now."""
        if self.told and end.written == "no":
            end.written = "perhaps"
        self.told = False
        return end

    def refuse_locked(self, what: str) -> None:
        """In a block that has saved with ``tx.checkpoint`` the worker can't save: the block has locked the job's row,
        and whoever waits for the worker there keeps the block from its end. Refused whether or not this call would
        save, so that nobody learns of it from the hundredth. Raises Unsupported."""
        if self.opened is not None and self.opened.goes_on:
            raise Unsupported(
                "is used in a ctx.transaction() block after tx.checkpoint, which has locked the job: it would wait for "
                "the block's own end",
                field=f"ctx.{what}",
                fix="save with tx.checkpoint in the block, or after the block has ended",
            )

    async def leave(self) -> None:
        """Close what was opened on this event loop."""
        await self.desk.leave()


def in_child(url: str, schema: str, versions: Versions, claimed: Claimed) -> Context:
    """The context of a job that runs in a child process of a worker."""
    return Context(claimed, _desk_of_child(url, schema, versions))


@lru_cache(maxsize=1)
def _desk_of_child(url: str, schema: str, versions: Versions) -> Desk:
    return Desk(url, schema, versions=versions)
