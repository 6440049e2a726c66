"""The driver: runs workflows' runs in a worker. It loads a run, turns its machine, carries out what that asks for, and
records each outcome before the machine hears of it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...jobs.handler import Context
from ...jobs.loops.minder import Minder
from ...jobs.loops.settler import Link
from ...jobs.work import End
from .activator import Activator
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
        self._provider = Provider(link, desks, threads=threads, minder=minder, stopping=stopping)

    async def run(self) -> None:
        """Load and record until cancelled."""
        await self._provider.run()

    async def activate(self, flow: Flow, ctx: Context, payload: msgspec.Raw) -> End:
        """Replay the run and go on with it, until it ends or has nothing to do. Returns how its job ends."""
        history = await self._provider.loads.put(ctx.job.id)
        return await Activator(self._provider, flow, ctx, payload, history).run()

    def close(self) -> None:
        """Forget the threads."""
        self._provider.close()
