"""The reporter: what handlers say about their progress, the last word of each, at most once a second."""

from __future__ import annotations

import asyncio
import logging

from ...core import limits
from ...core.errors import DatabaseError
from ...runtime.dice import jittered
from ..ops.progress import report
from ..saves import Report
from .link import Link

log = logging.getLogger("perdure.report")

BATCH_MAX = 1_000


class Reporter:
    """Writes progress. Nobody waits for it, and a report that can't be written is dropped: the next one says more."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._last: dict[int, Report] = {}
        self._wake = asyncio.Event()

    def report(self, entry: Report) -> None:
        """Take a report, from any thread; it replaces the job's last one if that isn't written yet."""
        first = not self._last
        self._last[entry.id] = entry
        if first:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            reports, self._last = self._last, {}
            entries = list(reports.values())
            for start in range(0, len(entries), BATCH_MAX):
                try:
                    await self._link.run(report(entries[start : start + BATCH_MAX]))
                except DatabaseError as error:
                    log.warning("reports of progress are dropped: %s", error)
            await asyncio.sleep(jittered(limits.PROGRESS_SECONDS))
