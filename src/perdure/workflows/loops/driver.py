"""The driver: runs workflows' runs in a worker. It loads a run, turns its machine, carries out what that asks for, and
records each outcome before the machine hears of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ...core import limits
from ...jobs.handler import Context
from ...jobs.loops.link import Link
from ...jobs.loops.minder import Minder
from ...jobs.work import End
from ...runtime.nursery import Child
from .activator import activate
from .host import Host, Watch
from .lodger import RunRequest
from .provider import Desk, Flow, Provider


class Driver:
    """Drives the runs of one worker."""

    def __init__(
        self,
        link: Link,
        desks: Callable[[Context], Desk],
        *,
        threads: int,
        minder: Minder,
        stopping: Callable[[], bool],
    ) -> None:
        self._threads = threads
        self._provider = Provider(link, desks, threads=threads, minder=minder, stopping=stopping)

    async def run(self) -> None:
        """Load and record until cancelled."""
        await self._provider.run()

    async def activate(self, flow: Flow, ctx: Context, payload: msgspec.Raw) -> End:
        """Replay the run and go on with it, until it ends or has nothing to do. Returns how its job ends."""
        return await activate(self._provider, flow, ctx, payload)

    async def host(self, address: str, child: Child, given: Context, memory_bytes: int | None, watch: Watch) -> Any:
        """Have that done in the child, which finds the run's workflow at the address."""
        request = RunRequest(
            address, given.claimed, self._provider.minder.context, None, memory_bytes, self._provider.minder.around,
            desks=self._provider.desks, threads=self._threads, seconds=limits.SUSPECT_SECONDS,
        )  # fmt: skip
        return await Host(self._provider, child, given, memory_bytes, watch).run(request)

    def close(self) -> None:
        """Forget the threads."""
        self._provider.close()
