"""A worker that works until there is nothing left to do."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from ..app.registry import App
from ..core.errors import WaitTimeout
from ..jobs.ops.control import left_over
from ..pg.connect import connect
from ..pg.drive import drive
from ..runtime.clock import monotonic
from .runner import running

LOOK_SECONDS = 0.01


def work_off(app: App, url: str, *, timeout: float = 60.0, schema: str = "perdure", **options: Any) -> None:
    """Work for the app until nothing of its queues is ready, due or running, what has been enqueued meanwhile included.

    What is due later, or waits for a signal or a person, stays as it is: let time pass with ``skip``, send what is
    waited for, and work it off again. The options are those of ``Worker``. Raises WaitTimeout after ``timeout``
    seconds, and what the worker raises.
    """
    deadline = monotonic() + timeout
    with running(app, url, schema=schema, **options) as worker, connect(url, "app") as conn:
        assert isinstance(conn, psycopg.Connection)
        while left := drive(conn, left_over(worker.id), schema):
            if monotonic() > deadline:
                told = f"{left} jobs were left after {timeout:g} s"
                raise WaitTimeout(told, field="timeout", fix="see where they stand: client.jobs.list()")
            time.sleep(LOOK_SECONDS)
