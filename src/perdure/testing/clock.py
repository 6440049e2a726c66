"""Time that passes at once, for runs that wait."""

from __future__ import annotations

from datetime import timedelta

import psycopg

from ..core import check
from ..pg.connect import connect
from ..pg.drive import drive
from ..workflows.ops.control import skip_time


def skip(url: str, for_: timedelta | float, *, id: str | None = None, schema: str = "perdure") -> int:
    """Let so much time pass for one run, or for all that live; how many of them.

    What they sleep for, wait for until a time-out, or try again later, comes that much sooner; ``wf.now()`` of later
    steps is that much later. Time goes on as before for everything else.
    """
    seconds = check.delay("for_", for_).total_seconds()
    with connect(url, "app") as conn:
        assert isinstance(conn, psycopg.Connection)
        with conn.transaction():
            return drive(conn, skip_time(seconds, id), schema)
