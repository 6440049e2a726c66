"""Durable jobs on plain Postgres."""

from __future__ import annotations

from .app.client import AsyncClient, Client
from .app.context import Context
from .app.registry import App, Task
from .core import context
from .core.backoff import Retry
from .core.context import Envelope
from .core.endings import Cancel, Permanent, RetryAfter, Snooze
from .core.errors import PerdureError
from .core.lowwater import LowWater
from .jobs.model import Enqueued, JobSpec, chain
from .jobs.unique import Unique
from .machines.model import Machine, Transition

__all__ = [
    "App",
    "AsyncClient",
    "Cancel",
    "Client",
    "Context",
    "Enqueued",
    "Envelope",
    "JobSpec",
    "LowWater",
    "Machine",
    "PerdureError",
    "Permanent",
    "Retry",
    "RetryAfter",
    "Snooze",
    "Task",
    "Transition",
    "Unique",
    "chain",
    "context",
]
