"""Durable jobs on plain Postgres."""

from __future__ import annotations

from .app.client import AsyncClient, Client
from .app.context import Context
from .app.registry import App, Task
from .core import context
from .core.backoff import Retry
from .core.context import Envelope
from .core.endings import Cancel, Permanent, RetryAfter, Snooze
from .core.errors import (
    ConnectionLost,
    ContextMissing,
    DatabaseError,
    DuplicateJob,
    InvalidInput,
    InvalidOption,
    JobCancelled,
    JobError,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobNotRetryable,
    LockTimeout,
    OutcomeUnknown,
    OwnershipLost,
    PerdureError,
    QueueSaturated,
    RolledBack,
    ServerUnavailable,
    TransactionConflict,
    TransactionFailed,
    TransientError,
    UnknownQueue,
    Unsupported,
    WaitTimeout,
)
from .core.lowwater import LowWater
from .core.run_errors import (
    Diverged,
    GatherFailed,
    InvalidWorkflow,
    StepFailed,
    StepTimeout,
    UpdateRefused,
    WorkflowCancelled,
    WorkflowExists,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowNotFound,
    WorkflowState,
)
from .fleet.model import UnknownWorker
from .jobs.letters import NothingMatches
from .jobs.model import Enqueued, JobSpec, chain
from .jobs.unique import Unique
from .machines.errors import (
    EntityExists,
    EntityNotFound,
    GuardRefused,
    IllegalTransition,
    InvalidMachine,
    TransitionConflict,
)
from .machines.model import Machine, Transition
from .workflows.commands import Interrupted
from .workflows.handle import Workflow
from .workflows.model import RunSpec

__all__ = [
    "App",
    "AsyncClient",
    "Cancel",
    "Client",
    "ConnectionLost",
    "Context",
    "ContextMissing",
    "DatabaseError",
    "Diverged",
    "DuplicateJob",
    "Enqueued",
    "EntityExists",
    "EntityNotFound",
    "Envelope",
    "GatherFailed",
    "GuardRefused",
    "IllegalTransition",
    "Interrupted",
    "InvalidInput",
    "InvalidMachine",
    "InvalidOption",
    "InvalidWorkflow",
    "JobCancelled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobNotRetryable",
    "JobSpec",
    "LockTimeout",
    "LowWater",
    "Machine",
    "NothingMatches",
    "OutcomeUnknown",
    "OwnershipLost",
    "PerdureError",
    "Permanent",
    "QueueSaturated",
    "Retry",
    "RetryAfter",
    "RolledBack",
    "RunSpec",
    "ServerUnavailable",
    "Snooze",
    "StepFailed",
    "StepTimeout",
    "Task",
    "TransactionConflict",
    "TransactionFailed",
    "TransientError",
    "Transition",
    "TransitionConflict",
    "Unique",
    "UnknownQueue",
    "UnknownWorker",
    "Unsupported",
    "UpdateRefused",
    "WaitTimeout",
    "Workflow",
    "WorkflowCancelled",
    "WorkflowExists",
    "WorkflowFailed",
    "WorkflowFinished",
    "WorkflowNotFound",
    "WorkflowState",
    "chain",
    "context",
]
