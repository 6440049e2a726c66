"""Time that passes at once, for runs that wait and jobs that are due later."""

from __future__ import annotations

from datetime import timedelta

import psycopg

from ..core import check
from ..jobs.ops.control import hasten
from ..pg.connect import connect
from ..pg.drive import drive
from ..workflows.ops.control import skip_time


def skip(url: str, for_: timedelta | float, *, id: str | None = None, schema: str = "perdure") -> int:
    """Let so much time pass: for one run, or for all that live and for every job that is due later; how many of them.

    What runs sleep for, wait for until a time-out, or try again later comes that much sooner, and ``wf.now()`` of their
    later steps is that much later; a delayed job, or one that is tried again, is due that much sooner. Time goes on as
    before for everything else: what a handler reads from its machine's clock isn't changed.
    """
    seconds = check.delay("for_", for_).total_seconds()
    with connect(url, "app") as conn:
        assert isinstance(conn, psycopg.Connection)
        with conn.transaction():
            moved = 0 if id is not None else drive(conn, hasten(seconds), schema)
            return moved + drive(conn, skip_time(seconds, id), schema)
