"""The noun ``workers``: list, release."""

from __future__ import annotations

from typing import Final

from ...core import check, limits
from ...core.op import Op
from ...fleet.model import UnknownWorker, Worker
from ...fleet.ops import workers as ops
from ...jobs.ops import leases
from .runs import AsyncRuns, Runs

WORKER_ID_MAX: Final = 2**31 - 1


class Workers:
    """The workers that live, and those that ended lately."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def list(self) -> list[Worker]:
        """The workers."""
        return self._runs.look(ops.list_workers)

    def release(self, worker: int, *, reason: str) -> int:
        """Take out of a worker's hands whatever it holds: back to ready, uncharged, with the reason in the attempt log.
        Returns how many jobs. Those that must not run twice may have begun, and go to the dead with ``needs_review``.
        If the worker is well after all, what it does with any of them is refused as stale.

        Never needed for recovery, which happens by itself; for a worker that is alive and makes no progress. Raises
        UnknownWorker.
        """
        return self._runs.change(release(worker, reason))


class AsyncWorkers:
    """Workers, awaited."""

    def __init__(self, runs: AsyncRuns) -> None:
        self._runs = runs

    async def list(self) -> list[Worker]:
        """As ``Workers.list``."""
        return await self._runs.look(ops.list_workers)

    async def release(self, worker: int, *, reason: str) -> int:
        """As ``Workers.release``."""
        return await self._runs.change(release(worker, reason))


def release(worker: int, reason: str) -> Op[int]:
    """Take what it holds out of its hands; how many jobs. Raises InvalidOption or UnknownWorker."""
    check.number("worker", worker, WORKER_ID_MAX)
    check.text("reason", reason, limits.REASON_CHARS_MAX)
    released = yield from leases.release(worker, reason)
    if not released and not (yield from ops.is_known(worker)):
        raise UnknownWorker("there is none", field=f"worker {worker}", fix="see `perdure workers`")
    return released
