"""The noun ``queues``: declare, get, list, pause, resume."""

from __future__ import annotations

import builtins

from ...core.op import Op
from ...jobs.bounds import Declaring, Queue
from ...jobs.ops import admission
from ...jobs.ops import queues as ops
from ...jobs.ops.admission import Declared
from . import verbs
from .runs import AsyncRuns, Runs


class Queues:
    """Queues: how many jobs stand in each of their places, what they may hold, and whether they keep up."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def get(self, name: str) -> Queue:
        """One queue. Raises UnknownQueue."""
        return self._runs.look(verbs.get_queue, name)

    def list(self) -> list[Queue]:
        """Every queue, by name."""
        return self._runs.look(ops.list_queues)

    def declare(self, app: Declaring) -> builtins.list[Declared]:
        """Write what the app declares of its queues, as its workers do when they start: from now on it binds everybody.

        Each answer says whether that changed anything, and what another app had declared differently.
        """
        return self._runs.change(_declare(app))

    def pause(self, name: str) -> None:
        """Let nothing more be claimed from the queue; what runs goes on. Raises UnknownQueue."""
        self._runs.change(verbs.pause(name))

    def resume(self, name: str) -> None:
        """Let a paused queue be claimed from again. Raises UnknownQueue."""
        self._runs.change(verbs.resume(name))


class AsyncQueues:
    """Queues, awaited."""

    def __init__(self, runs: AsyncRuns) -> None:
        self._runs = runs

    async def get(self, name: str) -> Queue:
        """As ``Queues.get``."""
        return await self._runs.look(verbs.get_queue, name)

    async def list(self) -> list[Queue]:
        """As ``Queues.list``."""
        return await self._runs.look(ops.list_queues)

    async def declare(self, app: Declaring) -> builtins.list[Declared]:
        """As ``Queues.declare``."""
        return await self._runs.change(_declare(app))

    async def pause(self, name: str) -> None:
        """As ``Queues.pause``."""
        await self._runs.change(verbs.pause(name))

    async def resume(self, name: str) -> None:
        """As ``Queues.resume``."""
        await self._runs.change(verbs.resume(name))


def _declare(app: Declaring) -> Op[builtins.list[Declared]]:
    return admission.declare(list(verbs.declaring(app, "queues").queues.values()), app.name)
