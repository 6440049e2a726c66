"""The app that the workers of a demonstration run: a shop that sends receipts, and a keeper of any value.

The receipts are written as a careful application would write them. The handler may run twice, when its worker dies
after the effect and before the end is recorded; so the effect is one that a second run finds done.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ..app.context import Context
from ..app.registry import App
from ..pg.link import Link
from . import ops

AGAIN_SECONDS = 1.0

app = App("demo")
_links: list[Link] = []


def shop() -> Link:
    """The connection of this process to the shop's own tables."""
    if not _links:
        _links.append(Link(os.environ["DATABASE_URL"], os.environ["PERDURE_SCHEMA"], "app"))
    return _links[0]


@app.task
async def send_receipt(order_id: int, writing: float, confirming: float, ctx: Context) -> str:
    """Write the receipt of an order, send it, and wait until it is confirmed; both take so many seconds, and no longer
    than AGAIN_SECONDS when somebody was at it before."""
    await shop().run(ops.start(order_id, ctx.job.id, ctx.fence.generation, os.getpid()))
    if ctx.fence.generation:
        writing, confirming = min(writing, AGAIN_SECONDS), min(confirming, AGAIN_SECONDS)
    await asyncio.sleep(writing)
    await shop().run(ops.send(order_id, ctx.job.id))
    await asyncio.sleep(confirming)
    return f"receipt for order {order_id}"


@app.task
async def keep(value: Any, seconds: float) -> Any:
    """Take any JSON value, and give it back after ``seconds``."""
    await asyncio.sleep(seconds)
    return value
