"""The sign of sleepers: while it stands, whoever writes ``ready`` notifies."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.op import Op, one
from ...sql import statement

SLEEP = statement("jobs.sleep", lambda row: int(row["queues"]))
RISE = statement("jobs.rise", lambda row: int(row["queues"]))


def sleep(queues: Sequence[int]) -> Op[int]:
    """Put up the sign for these queues, on the session of the listener."""
    return (yield from one(SLEEP, queues=list(queues)))


def rise(queues: Sequence[int]) -> Op[int]:
    """Take the sign down."""
    return (yield from one(RISE, queues=list(queues)))
