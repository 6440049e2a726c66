"""The real clock. Between processes only the database's clock counts; this one measures spans within a process."""

from __future__ import annotations

import time
from datetime import UTC, datetime

monotonic = time.monotonic
"""Seconds that only go forward, for spans and trust windows."""


wall_clock = time.time
"""Seconds since 1970 by this machine's clock, with the restraint that ``utc_now`` asks for."""


def utc_now() -> datetime:
    """The wall clock, aware. For logs and for a handler's own dates; never compared with a stored time."""
    return datetime.now(UTC)
