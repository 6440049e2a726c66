"""The noun ``workers``: list."""

from __future__ import annotations

from ...fleet.model import Worker
from ...fleet.ops import workers as ops
from .runs import AsyncRuns, Runs


class Workers:
    """The workers that live, and those that ended lately."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def list(self) -> list[Worker]:
        """The workers."""
        return self._runs.ask(ops.list_workers())


class AsyncWorkers:
    """Workers, awaited."""

    def __init__(self, runs: AsyncRuns) -> None:
        self._runs = runs

    async def list(self) -> list[Worker]:
        """As ``Workers.list``."""
        return await self._runs.ask(ops.list_workers())
