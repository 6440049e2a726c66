"""The part of a context that keeps how far a job has come: for whoever runs it next, and for people who wait for it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

from ..core import codec, limits
from ..core.endings import storable
from ..core.errors import InvalidOption, OwnershipLost, Unsupported
from ..jobs import handler
from ..jobs.saves import Report, Save
from ..jobs.work import Claimed, Extras
from ..runtime.clock import monotonic
from .block import on_a_loop
from .books import Books

T = TypeVar("T")


class _Nothing:
    """An awaitable that has nothing to wait for."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


_NOTHING = _Nothing()
log = logging.getLogger("perdure.run")


class Saving(handler.Context):
    """Checkpoints and progress. What writes is awaited in an async handler, and blocks in any other."""

    __slots__ = ("_books", "_count", "_reached", "_resumed", "_saved_at", "_serial", "_version", "steps", "unsaved")

    def __init__(self, claimed: Claimed, books: Books | None) -> None:
        super().__init__(claimed)
        self._books, self._saved_at = books, monotonic()
        self._version = dict(books.versions).get(claimed.task, 1) if books is not None and books.versions else 1
        self._serial = self.steps = self._count = 0
        self._reached: object = None
        self._resumed = self.unsaved = False

    @property
    def books(self) -> Books:
        """Where it is written. Raises Unsupported where no worker runs the handler."""
        if self._books is None:
            raise Unsupported("has no worker behind it", field="ctx", fix="let a worker run the handler")
        return self._books

    @property
    def restored(self) -> Any:
        """The last checkpoint that any run of this job has saved, as plain JSON values; None when there is none."""
        extras = self._claimed.extras
        return extras.kept.value if extras is not None and extras.kept is not None else None

    def checkpoint(self, value: object) -> Awaitable[None]:
        """Save how far the job has come; durable when it returns, for the next run's ``restored``.

        It is kept through retries, lost workers and deployments, and gone with the job's end. Whoever saves something
        new counts its attempts from one again. Raises Unserialisable, InvalidArgument or PayloadTooLarge for what can't
        be kept, OwnershipLost when the job is somebody else's by now: stop then. Raises Unsupported in a
        ``transaction()`` block that has saved with ``tx.checkpoint``, which is how to save there.
        """
        self.refuse_locked("checkpoint")
        entry = self.entry(value)
        self._reach(value)
        return self._write(entry)

    def advance(
        self,
        reached: object,
        *,
        every: int | None = limits.CHECKPOINT_EVERY,
        seconds: float | None = limits.CHECKPOINT_SECONDS,
    ) -> Awaitable[None]:
        """Say what was reached; it is saved after so many calls or so many seconds, whichever comes first, and at the
        latest when the handler ends without completing: failed, stopped, drained.

        ``reached`` may be a function that gives the state, called when it is saved. ``every``, ``seconds``: None for
        never. Raises Stopped when the job should stop, and what ``checkpoint`` raises.
        """
        self.refuse_locked("advance")
        if not isinstance(reached, int) and not callable(reached):
            self._encoded(reached)  # what can't be kept is told here, and not when it is too late
        self._reach(reached)
        self._count += 1
        self.raise_if_cancelled()
        late = seconds is not None and monotonic() - self._saved_at >= seconds
        if late or (every is not None and self._count >= every):
            return self._write(self.entry(self._state()))
        return _NOTHING

    def resumable(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        every: int | None = limits.CHECKPOINT_EVERY,
        seconds: float | None = limits.CHECKPOINT_SECONDS,
    ) -> Resumable[T]:
        """The items that no run of this job has done yet, for one loop (``for``, or ``async for``): the checkpoint is
        how many were done. They must come in the same order each time. One is done when the next one is asked for.
        """
        if self._resumed:
            raise InvalidOption("is used twice in one handler", field="resumable", fix="use ctx.advance with a state")
        done = self.restored or 0
        if not isinstance(done, int):
            raise InvalidOption(
                f"found {done!r:.80}, which is no count", field="resumable", fix="use ctx.advance with this state"
            )
        self._resumed = True
        return Resumable(items, done, lambda reached: self.advance(reached, every=every, seconds=seconds))

    def progress(self, n: float, total: float | None = None, message: str | None = None) -> None:
        """Tell people how far it is: ``n`` of ``total``. Costs next to nothing: the last report of a second is written,
        and nobody waits for it."""
        for option, number in (("n", n), ("total", total)):
            if number is not None and (
                isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number)
            ):
                raise InvalidOption(f"{number!r} is no number", field=f"progress.{option}", fix="give a finite number")
        if message is not None:
            # For people, and often a line of somebody's file: whatever it holds is no reason to fail the job.
            message = storable(str(message))[: limits.PROGRESS_MESSAGE_CHARS_MAX] or None
        claimed = self._claimed
        self.books.report(Report(claimed.id, claimed.generation, n, total, message))

    def keep(self) -> None:
        """Save what was reached last, if it isn't saved; a refusal changes nothing about how the job ends."""
        if self.unsaved:
            try:
                self.written(self.books.save(self.entry(self._state())), self.steps)
            except Exception as error:
                self._complain(error)

    async def akeep(self) -> None:
        """The same, on the event loop."""
        if self.unsaved:
            try:
                await self._awrite(self.entry(self._state()), self.steps)
            except Exception as error:
                self._complain(error)

    def refuse_locked(self, what: str) -> None:
        """Raise Unsupported where saving would wait for a lock that the handler itself holds."""

    def _reach(self, reached: object) -> None:
        self.refuse_in_step("checkpoint", "make steps of its parts, or enqueue it as a job of its own")
        self._reached, self.unsaved = reached, True
        self.steps += 1

    def _state(self) -> object:
        return self._reached() if callable(self._reached) else self._reached

    def entry(self, value: object) -> Save:
        """The checkpoint to be written."""
        text, claimed = self._encoded(value), self._claimed
        self._serial += 1
        claimed.extras = claimed.extras or Extras()
        claimed.extras.sides = True  # before it is written: whether it was may never be known
        return Save(claimed.id, claimed.generation, self._serial, self._version, text)

    def _encoded(self, value: object) -> str:
        return codec.encode(value, field="checkpoint", bytes_max=limits.CHECKPOINT_BYTES_MAX)

    def _write(self, entry: Save) -> Awaitable[None]:
        self._count, self._saved_at = 0, monotonic()
        if on_a_loop():
            # Begun here and now, so that a forgotten await doesn't lose it.
            return asyncio.ensure_future(self._awrite(entry, self.steps))
        self.written(self.books.save(entry), self.steps)
        return _NOTHING

    async def _awrite(self, entry: Save, steps: int) -> None:
        self.written(await self.books.asave(entry), steps)

    def written(self, advanced: bool, steps: int) -> None:
        """What was reached after so many steps is durable."""
        if steps == self.steps:
            self.unsaved = False
        if advanced:
            self._claimed.attempt = 1

    def _complain(self, error: Exception) -> None:
        if isinstance(error, OwnershipLost):
            return  # its end will be refused, too, and that is told
        log.warning("what job %d reached last isn't saved: %s", self._claimed.id, error)


class Resumable(Generic[T]):
    """What is left of some items."""

    def __init__(
        self, items: Iterable[T] | AsyncIterable[T], done: int, advance: Callable[[int], Awaitable[None]]
    ) -> None:
        self._items, self._done, self._advance = items, done, advance

    def __iter__(self) -> Iterator[T]:
        """The items, in a thread or a child process. On an event loop nobody would wait for what is saved, nor hear
        that it was refused. Raises InvalidOption."""
        if on_a_loop():
            raise InvalidOption(
                "is looped over with for in an async handler, which couldn't wait for what is saved",
                field="resumable",
                fix="loop over it with async for",
            )
        if not isinstance(self._items, Iterable):
            raise InvalidOption("is an async iterable", field="resumable", fix="loop over it with async for")
        for number, item in enumerate(islice(self._items, self._done, None), self._done + 1):
            yield item
            self._advance(number)

    async def __aiter__(self) -> AsyncIterator[T]:
        number = 0
        async for item in _async(self._items):
            number += 1
            if number > self._done:
                yield item
                await self._advance(number)


async def _async(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
