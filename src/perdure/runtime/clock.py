"""The real clock. Between processes only the database's clock counts; this one measures spans within a process."""

from __future__ import annotations

import time
from datetime import UTC, datetime

monotonic = time.monotonic
"""Seconds that only go forward, for spans and trust windows."""


def utc_now() -> datetime:
    """The wall clock, aware. For logs and for a handler's own dates; never compared with a stored time."""
    return datetime.now(UTC)
