"""The driver: runs workflows' runs in a worker. It loads a run, turns its machine, carries out what that asks for, and
records each outcome before the machine hears of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from ...core.errors import PerdureError
from ...jobs.handler import Context
from ...jobs.loops.minder import Minder
from ...jobs.loops.settler import Link
from ...jobs.work import End
from ..ends import RunEnd
from ..ops.after import follow
from .activator import Activator
from .provider import Desk, Flow, Provider

log = logging.getLogger("perdure.workflows")


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
        job = ctx.claimed
        try:
            arguments = flow.decode(payload)
        except PerdureError as error:
            text = f"its arguments don't fit: {error}"
            log.error("run of %s, job %d, is parked: %s", flow.name, job.id, text)
            return RunEnd(job, "held", 0, text=text, reason="invalid", key=str(job.id), then=follow)
        history = await self._provider.loads.put(job.id)
        return await Activator(self._provider, flow, ctx, arguments, history).run()

    def close(self) -> None:
        """Forget the threads."""
        self._provider.close()
