"""What pausing and resuming a job do, once for both colours."""

from __future__ import annotations

from ...core.errors import JobError
from ...core.op import Op
from ...jobs.ops import pause as pausing
from . import verbs


def pause(id: int) -> Op[pausing.PauseAnswer]:
    """Let it run no further. Raises JobNotFound, or JobError for what can't be paused."""
    yield from verbs.get(id)
    answer = yield from pausing.pause(id)
    if answer == "run":
        raise JobError("is a workflow's run", job_id=id, field=f"job {id}", fix="pause that: workflows.pause")
    if answer not in ("paused", "requested"):
        said = "is dead" if answer == "dead" else "has ended"
        raise JobError(said, job_id=id, field=f"job {id}", fix="pause what is still to run")
    return answer


def resume(id: int) -> Op[pausing.ResumeAnswer]:
    """Let it go on. Raises JobNotFound, or JobError when it isn't paused."""
    yield from verbs.get(id)
    answer = yield from pausing.resume(id)
    if answer == "missing":
        raise JobError("isn't paused", job_id=id, field=f"job {id}", fix="look where it stands: jobs.get")
    return answer
