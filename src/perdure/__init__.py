"""Durable jobs on plain Postgres."""

from __future__ import annotations

from .app.registry import App, Task
from .core.backoff import Retry
from .core.endings import Cancel, Permanent, RetryAfter, Snooze
from .core.errors import PerdureError
from .jobs.model import JobSpec

__all__ = ["App", "Cancel", "JobSpec", "PerdureError", "Permanent", "Retry", "RetryAfter", "Snooze", "Task"]
