"""Waiting for a server that will be back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..core.errors import TransientError
from .dice import jittered

R = TypeVar("R")
log = logging.getLogger("perdure.worker")

PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 2.0


async def patiently(act: Callable[[], Awaitable[R]]) -> R:
    """What ``act`` gives, tried again for as long as the server doesn't answer.

    The wait has no bound, because a worker has nothing else to do; cancel it to end it. Raises any other error.
    """
    pause = PAUSE_SECONDS
    while True:
        try:
            return await act()
        except TransientError as error:
            log.warning("waiting for Postgres: %s", error)
            await asyncio.sleep(jittered(pause))
            pause = min(pause * 2, PAUSE_SECONDS_MAX)
