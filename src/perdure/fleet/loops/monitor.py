"""The monitor: an event loop that doesn't answer is reported, with the place where it is held up.

A deaf loop is a warning and not a death: the heart beats from its own thread, so no lease is lost meanwhile. But
nothing is claimed, settled or timed out either, and the line that keeps the loop is what its owner wants to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
import traceback

from ...core import limits
from ...runtime.clock import monotonic

log = logging.getLogger("perdure.loop")


class Monitor:
    """Watches the running loop; made on its thread."""

    DEAF_SECONDS = limits.LOOP_DEAF_SECONDS
    """How long the loop may fail to answer."""

    def __init__(self, deaf_seconds: float | None = None) -> None:
        self._deaf_seconds = self.DEAF_SECONDS if deaf_seconds is None else deaf_seconds
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._asked_at: float | None = None
        self._reported = False

    def check(self) -> None:
        """Ask the loop for a sign, or report that it owes one. Call it now and then, on another thread than its own."""
        asked_at = self._asked_at
        if asked_at is None:
            self._asked_at, self._reported = monotonic(), False
            self._loop.call_soon_threadsafe(self._answer)
        elif not self._reported and monotonic() - asked_at >= self._deaf_seconds:
            self._reported = True
            frame = sys._current_frames().get(self._thread)
            stack = "".join(traceback.format_stack(frame)) if frame is not None else "its thread has ended"
            log.warning("the event loop hasn't answered for %.2f s; it is here:\n%s", monotonic() - asked_at, stack)

    def _answer(self) -> None:
        self._asked_at = None


def watch(deaf_seconds: float) -> None:
    """Report whatever keeps the running loop for so long, from now on, from a thread that looks often enough to see the
    line that does: for a developer's day, and to find what blocks."""
    monitor = Monitor(deaf_seconds)

    def look() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed
            while True:
                monitor.check()
                time.sleep(deaf_seconds / 4)

    threading.Thread(target=look, name="perdure-monitor", daemon=True).start()
