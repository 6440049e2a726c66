"""A second pair of eyes: while one session waits for a lock, another one sees who holds it, and knows when to give up.

Postgres tells who blocks whom only while somebody waits; when the lock time-out has come it is too late to ask.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from ..core.errors import DatabaseError
from ..core.op import Row, rows
from ..sql import statement
from .drive import drive

BLOCKERS = statement("migration.blockers", lambda row: _shown(row))

LOOK_SECONDS = 0.1


class Lookout:
    """What was seen: ``blockers``, as one names them to people; ``gave_up``, when the deadline had come."""

    def __init__(self) -> None:
        self.blockers: list[str] = []
        self.gave_up = False

    def named(self) -> str:
        """For a message: who was in the way."""
        return f"; in the way was {', '.join(self.blockers)}" if self.blockers else ""


@contextmanager
def looking_out(conn: psycopg.Connection[Any], deadline: float) -> Iterator[Lookout]:
    """Watch the session for the length of the block. At the deadline (monotonic seconds) what it runs is cancelled."""
    lookout, over = Lookout(), threading.Event()
    watching = threading.Thread(
        target=_watch, args=(conn, deadline, lookout, over), name="perdure-lookout", daemon=True
    )
    watching.start()
    try:
        yield lookout
    finally:
        over.set()
        watching.join()


def _watch(conn: psycopg.Connection[Any], deadline: float, lookout: Lookout, over: threading.Event) -> None:
    pid, eyes = conn.info.backend_pid, None
    settings: dict[str, Any] = {**conn.info.get_parameters(), "password": conn.info.password}
    try:
        while not over.wait(LOOK_SECONDS):
            if time.monotonic() > deadline:
                lookout.gave_up = True
                conn.cancel_safe()
                continue  # it may have come between two statements
            # Without a second session nobody can be named; the first one goes on all the same.
            with suppress(psycopg.Error, DatabaseError):
                eyes = eyes or psycopg.connect(**settings, autocommit=True)
                lookout.blockers = drive(eyes, rows(BLOCKERS, pid=pid)) or lookout.blockers
    finally:
        if eyes is not None:
            eyes.close()


def _shown(row: Row) -> str:
    if not row["pid"]:
        return "a prepared transaction (pg_prepared_xacts lists them)"
    age = "" if row["seconds"] is None else f", in a transaction for {row['seconds']:.0f} s"
    return f"pid {row['pid']} ({row['application']}, {row['state']}{age})"
