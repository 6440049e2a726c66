"""The tasks that the client's tests enqueue; nothing runs them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from perdure import App

app = App("shop")


@app.task(queue="mail")
async def send_receipt(order_id: int, note: str = "") -> str:
    """Send it."""
    return f"receipt {order_id} {note}"


@app.task(queue="cards", at_most_once=True, priority=1, tags=("money",), expires=3600)
def charge(order_id: int) -> None:
    """Never twice."""


@app.task
def remind(at: datetime, amount: float, about: Any) -> None:
    """With arguments that can go wrong."""
