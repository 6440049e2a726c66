"""Where contexts write what they keep: in a worker by its keeper and its reporter, in a child process by themselves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

from ..core import limits
from ..core.errors import DatabaseError, TransientError
from ..core.op import Op
from ..jobs.handler import Handler
from ..jobs.loops.keeper import Keeper
from ..jobs.loops.link import Link
from ..jobs.loops.reporter import Reporter
from ..jobs.ops.checkpoints import save
from ..jobs.ops.progress import report
from ..jobs.saves import Report, Save
from ..runtime.clock import monotonic

log = logging.getLogger("perdure.run")

Versions: TypeAlias = tuple[tuple[str, int], ...]
"""Of the state that tasks save, where it isn't 1. Hashable, and it travels to child processes."""


class Books(Protocol):
    """``save`` waits where it is called from, ``asave`` on the event loop; both return whether the run has advanced.
    ``report`` waits for nobody, and what it is given may be overtaken by a later report."""

    @property
    def versions(self) -> Versions: ...  # noqa: D102
    def save(self, entry: Save) -> bool: ...  # noqa: D102
    async def asave(self, entry: Save) -> bool: ...  # noqa: D102
    def report(self, entry: Report) -> None: ...  # noqa: D102


class WorkerBooks:
    """Those of a worker: many handlers share a write."""

    def __init__(self, link: Link, handlers: Iterable[Handler]) -> None:
        self.keeper, self.reporter = Keeper(link), Reporter(link)
        self.save, self.asave, self.report = self.keeper.save_from_thread, self.keeper.save, self.reporter.report
        versions = {handler.name: handler.checkpoint_version for handler in handlers}
        self.versions: Versions = tuple((name, version) for name, version in versions.items() if version != 1)


class OwnBooks:
    """Those of a child process, on the connections that its handler has anyway. ``ask`` drives an op on one of them."""

    PAUSE_SECONDS = 0.1

    def __init__(self, ask: Callable[[Op[Any]], Any], versions: Versions) -> None:
        self._ask, self.versions = ask, versions
        self._reported = -limits.PROGRESS_SECONDS

    def save(self, entry: Save) -> bool:
        """Waits for a server that doesn't answer: whoever waits for the job can kill the child."""
        while True:
            try:
                [answer] = self._ask(save([entry]))
            except TransientError as error:
                answer = error
            if isinstance(answer, bool):
                return answer
            if not isinstance(answer, TransientError):
                raise answer
            time.sleep(self.PAUSE_SECONDS)

    async def asave(self, entry: Save) -> bool:
        """The same, in a thread."""
        return await asyncio.to_thread(self.save, entry)

    def report(self, entry: Report) -> None:
        """Write it, unless the last one was written a moment ago."""
        now = monotonic()
        if now - self._reported >= limits.PROGRESS_SECONDS or entry.n == entry.total:
            self._reported = now
            try:
                self._ask(report([entry]))
            except DatabaseError as error:  # people wait for it, the job doesn't
                log.warning("a report of job %d is lost: %s", entry.id, error)
