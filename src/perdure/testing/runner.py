"""A worker in the test's own process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..app.registry import App
from ..app.worker import Worker
from ..core.errors import WaitTimeout

START_SECONDS = 30.0
LEAVE_SECONDS = 60.0


@contextmanager
def running(app: App, url: str, **options: Any) -> Iterator[Worker]:
    """Work for the app on a thread of its own; the worker is drained when the block ends.

    The options are those of ``Worker``. Raises what the worker raises, and WaitTimeout when it doesn't begin.
    """
    begun = threading.Event()
    failed: list[BaseException] = []
    made: list[tuple[Worker, asyncio.AbstractEventLoop]] = []

    async def work() -> None:
        worker = Worker(app, url, **options)
        made.append((worker, asyncio.get_running_loop()))
        running = asyncio.create_task(worker.run())
        started = asyncio.create_task(worker.started.wait())
        await asyncio.wait((running, started), return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        begun.set()
        await running

    def thread() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:  # whatever it is, the test has to hear of it
            failed.append(error)
        finally:
            begun.set()

    working = threading.Thread(target=thread, name="perdure-test-worker", daemon=True)
    working.start()
    waited = begun.wait(START_SECONDS)
    try:
        if not waited:
            raise WaitTimeout(
                f"the worker hasn't begun within {START_SECONDS:g} s",
                field="worker",
                fix="see what it logs; a test's own open transaction may hold what it waits for (commit it first)",
            )
        if failed:
            raise failed[0]
        worker, loop = made[0]
        yield worker
    finally:
        if working.is_alive() and made:
            worker, loop = made[0]
            loop.call_soon_threadsafe(worker.stop)
        working.join(LEAVE_SECONDS)
    if failed:
        raise failed[0]
