"""Tasks that take their process with them, or try to. A child imports their module, so they aren't local to a test."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time

from perdure.app.registry import App
from perdure.core.backoff import Retry

app = App("culprits")
AT_ONCE = Retry(max_attempts=20, delays=(0.0,) * 19, jitter="none")


@app.task(retry=AT_ONCE)
def segfault() -> None:
    """Read what isn't there."""
    ctypes.string_at(0)


@app.task(retry=AT_ONCE)
async def leave() -> None:
    """End the process without a word."""
    os._exit(42)


@app.task(retry=AT_ONCE)
def hoard() -> None:
    """Take memory until there is none."""
    hoarded = []
    while True:
        hoarded.append(b"x" * 16_777_216)


@app.task(retry=AT_ONCE)
async def hang() -> None:
    """Hold the loop for ever, without a timeout."""
    time.sleep(3_600)


@app.task(retry=AT_ONCE, timeout=0.2)
async def deaf() -> None:
    """Hold the loop past the timeout."""
    time.sleep(3_600)


@app.task(retry=Retry(max_attempts=1), timeout=0.2)
async def slow() -> None:
    """Wait past the timeout, and heed it."""
    await asyncio.sleep(3_600)


@app.task(retry=Retry(max_attempts=2))
def leave_twice() -> None:
    """End the process, with fewer attempts than crashes are allowed."""
    os._exit(1)


@app.task
async def whose_loop() -> int:
    """The process."""
    return os.getpid()


@app.task
def whose_thread() -> int:
    """The process."""
    return os.getpid()


@app.task(run_in="process")
def whose_process() -> int:
    """The process."""
    return os.getpid()


@app.task(retry=AT_ONCE)
def stay(file: str) -> None:
    """Write the pid to the file, then go on for ever."""
    with open(file, "w") as out:
        out.write(str(os.getpid()))
    while True:
        time.sleep(3_600)
