"""The sign of sleepers: while it stands, whoever writes ``ready`` notifies.

A writer tests the sign by holding it alone for a moment, so putting it up is tried a few times and never waited for. If
somebody holds it for longer, everybody else takes that for a sleeper and notifies; and the poll is the truth anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.op import Op, one
from ...sql import statement

SLEEP = statement("jobs.sleep", lambda row: list(map(int, row["missed"])))
RISE = statement("jobs.rise", lambda row: int(row["left_up"]))

TRIES = 10
"""Statements that one attempt to put up the sign may take. A writer holds it for microseconds."""


def sleep(queues: Sequence[int]) -> Op[int]:
    """Put up the sign for these queues, on the session of the listener; for how many it stands then."""
    missed = list(queues)
    for _ in range(TRIES):
        if missed:
            missed = yield from one(SLEEP, queues=missed)
    return len(queues) - len(missed)


def rise() -> Op[int]:
    """Take the sign down, for every queue."""
    return (yield from one(RISE))
