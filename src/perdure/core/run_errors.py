"""The errors of workflows and their runs; a branch of the tree in ``errors``."""

from __future__ import annotations

from .errors import InvalidInput, PerdureError, TransientError


class InvalidWorkflow(InvalidInput):
    """A workflow can't be what its code says: declared wrongly, or doing what can't be replayed."""

    code = "invalid_workflow"


class WorkflowError(PerdureError):
    """Something about one run of a workflow. ``id`` is the run's."""

    code = "workflow_error"

    def __init__(
        self, message: str, *, id: str | None = None, field: str | None = None, fix: str | None = None
    ) -> None:
        super().__init__(message, field=field, fix=fix)
        self.id = id


class WorkflowNotFound(WorkflowError):
    """No run has that id: it never existed, or it is no longer kept."""

    code = "workflow_not_found"


class WorkflowExists(WorkflowError):
    """There is a run of that id already, and the caller wanted a new one."""

    code = "workflow_exists"


class WorkflowFinished(WorkflowError):
    """The run has ended, so nothing can be said to it any more."""

    code = "workflow_finished"


class WorkflowState(WorkflowError):
    """The run isn't in a state in which that can be done, for example because it is running now."""

    code = "workflow_state"


class UpdateRefused(WorkflowError):
    """The run's validator didn't accept the update; the message is the validator's."""

    code = "update_refused"


class WorkflowFailed(WorkflowError):
    """The awaited run ended without a result. ``reason`` says why, ``error`` is its last error's text."""

    code = "workflow_failed"

    def __init__(
        self,
        message: str,
        *,
        id: str | None = None,
        reason: str | None = None,
        error: str | None = None,
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message, id=id, field=field, fix=fix)
        self.reason = reason
        self.error = error


class WorkflowCancelled(WorkflowFailed):
    """The awaited run was cancelled."""

    code = "workflow_cancelled"


class StepFailed(WorkflowError):
    """A step failed for good. ``step`` names it, ``kind`` is the class of what it raised, ``others`` are the errors of
    the steps beside it."""

    code = "step_failed"

    def __init__(
        self,
        message: str,
        *,
        step: str = "",
        kind: str = "",
        reason: str = "",
        others: tuple[StepFailed, ...] = (),
        field: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message, field=field or step or None, fix=fix)
        self.step, self.kind, self.reason, self.others = step, kind, reason, others


class StepTimeout(StepFailed, TimeoutError):
    """What a step waited for didn't come in time."""

    code = "step_timeout"


class GatherFailed(StepFailed):
    """Steps run side by side didn't bring what was asked of them. ``others`` are their errors, each a cause."""

    code = "gather_failed"


class Diverged(WorkflowError):
    """The code does something else than what the run has recorded. ``expected`` and ``found`` say where."""

    code = "diverged"

    def __init__(
        self,
        message: str,
        *,
        expected: str = "",
        found: str = "",
        diff: str = "",
        field: str | None = None,
        fix: str | None = "restore the step, or guard the change with wf.patched(…)",
    ) -> None:
        super().__init__(message, field=field, fix=fix)
        self.expected, self.found, self.diff = expected, found, diff


class CommitUnknown(TransientError):
    """Whether a transaction was committed isn't known yet; the run is loaded anew to find out."""

    code = "commit_unknown"
