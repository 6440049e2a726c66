"""A worker in a process of its own, for a benchmark to time and to kill: ``python -m perdure.bench.child SETTINGS``.

It begins when a line comes on stdin, and drains when stdin ends or SIGTERM comes; SIGUSR1 opens a road that is blocked.
It tells when it is ready, when it
has begun, how many jobs are settled (committed), what the handlers tell, and how it left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
import threading
from typing import Any

from ..app.worker import Worker
from ..runtime import collector
from ..runtime.clock import monotonic
from .tasks import app, road, tell

try:
    import uvloop as loops  # an optional extra: workers use it where it is installed
except ImportError:
    loops = asyncio  # type: ignore[misc]

WATCH_SECONDS = 0.005
TELL_SECONDS = 0.02


async def work(settings: dict[str, Any]) -> None:
    """Be the worker that the settings describe: url, schema, slots (None for the default), options, watch, and whether
    the road is blocked."""
    loop = asyncio.get_running_loop()
    begin, end = asyncio.Event(), asyncio.Event()
    listener = threading.Thread(target=_listen, args=(loop, begin, end), daemon=True)
    listener.start()
    tell(ready=True)
    await begin.wait()
    if settings["blocked"]:
        road.clear()
        loop.add_signal_handler(signal.SIGUSR1, road.set)
    queues = None if settings["slots"] is None else {"default": settings["slots"]}
    worker = Worker(app, settings["url"], queues=queues, schema=settings["schema"], **settings["options"])
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    running = asyncio.create_task(worker.run())
    beside = [asyncio.create_task(each) for each in (_stop_at(end, worker), _report(worker, settings["watch"]))]
    clean = await running
    for task in beside:
        task.cancel()
    tell(left=True, clean=clean)


async def _report(worker: Worker, watched: bool) -> None:
    await worker.started.wait()
    tell(started=True, at=monotonic())
    if watched:
        await watch(worker)


async def _stop_at(end: asyncio.Event, worker: Worker) -> None:
    await end.wait()
    worker.stop()


def _listen(loop: asyncio.AbstractEventLoop, begin: asyncio.Event, end: asyncio.Event) -> None:
    """On a thread of its own, which the process doesn't wait for."""
    with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
        if sys.stdin.readline():
            loop.call_soon_threadsafe(begin.set)
            sys.stdin.read()
        loop.call_soon_threadsafe(end.set)
        loop.call_soon_threadsafe(begin.set)


async def watch(worker: Worker) -> None:
    """Tell how many jobs are settled, and since when, as often as it changes."""
    count, at, told_at, told = 0, monotonic(), 0.0, 0
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        now, seen = monotonic(), settled(worker)
        if seen != count:
            count, at = seen, now
        if count != told and now - told_at > TELL_SECONDS:
            told, told_at = count, now
            tell(settled=count, at=at)


def settled(worker: Worker) -> int:
    """Jobs completed by this worker, and committed."""
    return worker.settled.get("completed", 0)


def main() -> None:
    """The process."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the benchmark, whose end is the worker's
    collector.spare()  # as ``perdure worker`` does
    loops.run(work(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
