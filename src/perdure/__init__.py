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
from .core.run_errors import (
    Diverged,
    GatherFailed,
    StepFailed,
    StepTimeout,
    UpdateRefused,
    WorkflowCancelled,
    WorkflowFailed,
)
from .jobs.model import Enqueued, JobSpec, chain
from .jobs.unique import Unique
from .machines.model import Machine, Transition
from .workflows.commands import Interrupted
from .workflows.handle import Workflow
from .workflows.model import RunSpec

__all__ = [
    "App",
    "AsyncClient",
    "Cancel",
    "Client",
    "Context",
    "Diverged",
    "Enqueued",
    "Envelope",
    "GatherFailed",
    "Interrupted",
    "JobSpec",
    "LowWater",
    "Machine",
    "PerdureError",
    "Permanent",
    "Retry",
    "RetryAfter",
    "RunSpec",
    "Snooze",
    "StepFailed",
    "StepTimeout",
    "Task",
    "Transition",
    "Unique",
    "UpdateRefused",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowFailed",
    "chain",
    "context",
]
