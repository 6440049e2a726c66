"""What each verb of a client does, once for both colours: check what is given, talk, make an answer of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, NoReturn, TypeVar, get_args, overload

from ...core import check, context, limits
from ...core.errors import (
    InvalidOption,
    JobCancelled,
    JobError,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobNotRetryable,
    QueueSaturated,
    UnknownQueue,
    WaitTimeout,
)
from ...core.op import Op
from ...jobs.bounds import Queue
from ...jobs.model import Enqueued, JobSpec
from ...jobs.ops import control
from ...jobs.ops import enqueue as enqueue_ops
from ...jobs.ops import progress as progress_ops
from ...jobs.ops import queues as queue_ops
from ...jobs.ops.progress import Progress, Stuck
from ...jobs.view import Attempt, Job, Place, gist
from ...workflows.model import RunSpec

T = TypeVar("T")

PAGE_ROWS_DEFAULT: Final = 100
PAGE_ROWS_MAX: Final = 1_000
ID_MAX: Final = 2**63 - 1

MENDED: Final = "mend the cause, then retry it: jobs.retry({id})"
FIXES: Final = {
    "needs_review": "find out whether it happened, and retry it only if it didn't: jobs.retry({id})",
    "bad_result": "its work is done, and a retry does it again: jobs.discard({id})",
    "unsettleable": "find out what it did before it is done again: jobs.retry({id}), or jobs.discard({id})",
}
"""What whoever has waited for a dead job may do; of what may have done its work, first to find that out."""

PAUSE_SECONDS: Final = 0.01
PAUSE_SECONDS_MAX: Final = 0.5
PAUSE_GROWTH: Final = 1.4
"""A waiting client asks again after a hundredth of a second, then ever more rarely, at most twice a second."""


class Page(Sequence[T], Generic[T]):
    """Some of a list, in order. ``next`` is the cursor of the page after this one, None when there is none."""

    __slots__ = ("_items", "next")

    def __init__(self, items: Iterable[T], next: int | None) -> None:
        self._items = tuple(items)
        self.next = next

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...

    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<Page of {len(self)}, next={self.next}>"


def spec(job: object, options: Mapping[str, Any]) -> JobSpec:
    """The job with the options said, in the context that is bound here. Raises InvalidOption."""
    if not isinstance(job, JobSpec):
        _refuse_job(job, "job")
    said = job.options(**options) if options else job
    bound = context.captured()
    return said if bound is None else said.with_context(bound)


def specs(jobs: Iterable[object]) -> list[JobSpec]:
    """The jobs in the context that is bound here. Raises InvalidOption, naming the first that isn't one."""
    if isinstance(jobs, JobSpec) or not isinstance(jobs, Iterable):
        raise InvalidOption("is no list of jobs", field="jobs", fix="give a list, or enqueue one with jobs.enqueue(…)")
    found: list[Any] = list(jobs)
    if set(map(type, found)) - {JobSpec}:
        for place, job in enumerate(found):
            if not isinstance(job, JobSpec):
                _refuse_job(job, f"jobs[{place}]")
    bound = context.captured()
    return found if bound is None else [job.with_context(bound) for job in found]


def needs_several(jobs: Sequence[JobSpec]) -> bool:
    """Whether they don't fit in one statement, which would be a transaction by itself."""
    return len(enqueue_ops.batches(jobs)) > 1 or _any_special(jobs)


def enqueue_many(jobs: Sequence[JobSpec], *, free: bool = True) -> Op[list[Enqueued]]:
    """Write them all, in order. ``free``: False when ``enqueue_alone`` found their keys taken. Raises DuplicateJob."""
    if _any_special(jobs):
        return (yield from enqueue_ops.enqueue_each(jobs, free=free))
    return [Enqueued(id) for id in (yield from enqueue_ops.enqueue(jobs))]


def enqueue_alone(jobs: Sequence[JobSpec]) -> Op[list[Enqueued] | None] | None:
    """Write them all in one statement, without a transaction around it; None, and nothing is written, when one of their
    keys isn't free. No op at all when it takes several statements anyway."""
    return enqueue_ops.enqueue_alone(jobs)


def is_special(job: JobSpec) -> bool:
    """Whether it is written by statements of its own: it has a unique key, or follow-ups."""
    return job.unique is not None or bool(job.follow_ups)


def enqueue_special(job: JobSpec) -> Op[Enqueued]:
    """Write one that has follow-ups, or a unique key, unless that is taken. Raises DuplicateJob."""
    return (yield from enqueue_ops.enqueue_each([job]))[0]


def _any_special(jobs: Sequence[JobSpec]) -> bool:
    return any(map(is_special, jobs))


def get(id: int) -> Op[Job]:
    """One job, wherever it stands. Raises JobNotFound."""
    job = yield from control.get(_id(id))
    return missing(id) if job is None else job


def list_jobs(
    queue: str | None, place: str | None, task: str | None, tag: str | None, cursor: int | None, limit: int
) -> Op[Page[Job]]:
    """One page, newest first. Raises InvalidOption."""
    if place is not None and place not in get_args(Place):
        raise InvalidOption(f"{place!r} is no place", field="place", fix=f"give one of {', '.join(get_args(Place))}")
    page_limit(limit)
    for option, value in (("queue", queue), ("task", task), ("tag", tag)):
        if value is not None:
            check.text(option, value, limits.KEY_CHARS_MAX)
    below = None if cursor is None else _id(cursor, "cursor")
    # One more than asked for tells whether there is a next page.
    found = yield from control.list_jobs(queue=queue, place=place, task=task, tag=tag, cursor=below, limit=limit + 1)
    return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)


def attempts(id: int) -> Op[list[Attempt]]:
    """How the attempts that didn't complete have ended, in order."""
    return (yield from control.attempts(_id(id)))


def cancel(id: int, reason: str | None) -> Op[control.CancelAnswer]:
    """End it, or ask its worker to. Raises JobNotFound."""
    answer = yield from control.cancel(_id(id), _reason(reason))
    return missing(id) if answer == "missing" else answer


def cancel_many(ids: Iterable[int], reason: str | None) -> Op[dict[int, control.CancelAnswer]]:
    """End them, or ask their workers to. Raises InvalidOption."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidOption("is no list of ids", field="ids", fix="give a list of job.id")
    wanted = [_id(id, "ids") for id in ids]
    if len(wanted) > limits.CANCEL_MANY_MAX:
        fix = f"give at most {limits.CANCEL_MANY_MAX:,} at a time"
        raise InvalidOption(f"has {len(wanted):,} ids", field="ids", fix=fix)
    return (yield from control.cancel_many(wanted, _reason(reason)))


def retry(id: int) -> Op[None]:
    """Run it now. Raises JobNotFound or JobNotRetryable."""
    if not (yield from control.retry(_id(id))):
        job = yield from get(id)
        _no_run(job)
        raise JobNotRetryable(
            f"stands in {job.place}" + (f" ({job.reason})" if job.place == "held" else ""),
            job_id=id,
            field=f"job {id}",
            fix="retry what is scheduled or dead, or parked as context_missing",
        )


def redrive(id: int, by: str | None) -> Op[None]:
    """Run a dead one again. Raises JobNotFound or JobNotRetryable."""
    if not (yield from control.redrive(_id(id), None if by is None else _by(by))):
        job = yield from get(id)
        _no_run(job)
        raise JobNotRetryable(f"stands in {job.place}", job_id=id, field=f"job {id}", fix="redrive what is dead")


def _no_run(job: Job) -> None:
    """Raise JobNotRetryable for a dead one that wasn't to be had: it is a run."""
    if job.place == "dead":
        raise JobNotRetryable(
            "is a workflow's run, which would end as it has, over what it has recorded",
            job_id=job.id,
            field=f"job {job.id}",
            fix="take back what failed: workflows.retry",
        )


def discard(id: int, reason: str | None) -> Op[None]:
    """File a dead one for good. Raises JobNotFound, or JobError when it isn't dead."""
    answer = yield from control.discard(_id(id), _reason(reason))
    if answer == "missing":
        missing(id)
    if answer != "discarded":
        job = yield from get(id)
        raise JobError(f"stands in {job.place}, not in dead", job_id=id, field=f"job {id}", fix="cancel it instead")


def progress(id: int) -> Op[Progress]:
    """What it says of its progress. Raises JobNotFound."""
    yield from get(id)
    return (yield from progress_ops.progress(id))


def stuck(seconds: float) -> Op[list[Stuck]]:
    """Those that stand still. Raises InvalidOption."""
    return (yield from progress_ops.stuck(check.seconds("seconds", seconds), PAGE_ROWS_MAX))


def get_queue(name: str) -> Op[Queue]:
    """One queue. Raises UnknownQueue."""
    _queue(name)
    for queue in (yield from queue_ops.list_queues()):
        if queue.name == name:
            return queue
    _unknown(name)


def pause(name: str) -> Op[None]:
    """Stop claims. Raises UnknownQueue."""
    if not (yield from queue_ops.pause(_queue(name))):
        _unknown(name)


def resume(name: str) -> Op[None]:
    """Let claims go on. Raises UnknownQueue."""
    if not (yield from queue_ops.resume(_queue(name))):
        _unknown(name)


class Blocked:
    """The wait of an enqueue for room in a queue, without the waiting. ``now``: the caller's monotonic clock."""

    def __init__(self, waits: bool) -> None:
        self._waits, self._pause = waits, PAUSE_SECONDS
        self._since: float | None = None

    def pause(self, full: QueueSaturated, now: float, dice: float) -> float:
        """How long to wait before the next try. Raises the refusal when nothing may wait, or has waited long enough."""
        self._since = now if self._since is None else self._since
        if full.deadline is None or not self._waits:
            raise full
        left = self._since + full.deadline - now
        if left <= 0:
            full.message += f" (waited {full.deadline:g} s)"
            raise full
        self._pause = min(self._pause * PAUSE_GROWTH, PAUSE_SECONDS_MAX)
        return min(self._pause * (0.5 + dice), left)


def page_limit(limit: object) -> int:
    """How many a page may have. Raises InvalidOption."""
    return check.number("limit", limit, PAGE_ROWS_MAX)


def patience(timeout: object) -> float | None:
    """How many seconds a wait may take; None for ever. Raises InvalidOption."""
    if timeout is None:
        return None
    return 0.0 if timeout in (0, timedelta()) else check.seconds("timeout", timeout)


def declaring(app: T, what: str) -> T:
    """What declares these. Raises InvalidOption for anything else."""
    if not hasattr(app, what):
        raise InvalidOption(f"got {type(app).__name__}", field="app", fix="give an App")
    return app


class Looks:
    """When to look again, ever more rarely, until the time has passed. ``now``: the caller's monotonic clock."""

    def __init__(self, timeout: float | None, now: float) -> None:
        self.timeout = patience(timeout)
        self._deadline = None if self.timeout is None else now + self.timeout
        self._pause = PAUSE_SECONDS

    def pause(self, now: float, dice: float) -> float | None:
        """Seconds to pause before the next look, or None when the time has passed. ``dice`` is from [0, 1)."""
        left = None if self._deadline is None else self._deadline - now
        if left is not None and left <= 0:
            return None
        pause = self._pause * (0.75 + 0.5 * dice)
        self._pause = min(self._pause * PAUSE_GROWTH, PAUSE_SECONDS_MAX)
        return pause if left is None else min(pause, left)


class Waiting:
    """The wait for one job's end, without the waiting: what each look means, and how long to pause before the next."""

    def __init__(self, id: int, timeout: float | None, now: float) -> None:
        self._looks = Looks(timeout, now)
        self.id = _id(id)

    def pause(self, job: Job, now: float, dice: float) -> float | None:
        """Seconds to pause, or None when the job has completed.

        Raises JobFailed, JobCancelled or JobExpired when it ended otherwise, WaitTimeout when the time has passed.
        """
        if job.finished:
            self._judge(job)
            return None
        pause = self._looks.pause(now, dice)
        if pause is None:
            stands = job.place if job.reason is None else f"{job.place} ({job.reason})"
            raise WaitTimeout(
                f"hadn't ended after {self._looks.timeout:g} s, and stands in {stands}",
                job_id=job.id,
                field=f"job {job.id}",
                fix=f"wait longer, or see what it waits for: perdure explain {job.id}",
            )
        return pause

    def _judge(self, job: Job) -> None:
        if job.outcome == "completed":
            return
        kind = {"cancelled": JobCancelled, "expired": JobExpired}.get(job.outcome or "", JobFailed)
        ended = f"is dead ({job.reason})" if job.place == "dead" else f"was {job.outcome}"
        if job.outcome == "expired":
            ended = "expired before it was started"
        told = gist(job.error)
        raise kind(
            f"{ended}: {told}" if told else ended,
            job_id=job.id,
            reason=job.reason or job.outcome,
            error=job.error,
            field=f"job {job.id}",
            fix=FIXES.get(job.reason or "", MENDED).format(id=job.id) if job.place == "dead" else None,
        )


def _id(value: object, field: str = "id") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= ID_MAX:
        raise InvalidOption(f"{value!r} is no job's id", field=field, fix="give the id that enqueue returned: job.id")
    return value


def _queue(name: object) -> str:
    return check.name("queue", name, limits.QUEUE_NAME_CHARS_MAX)


def _reason(reason: object) -> str | None:
    return None if reason is None else check.text("reason", reason, limits.REASON_CHARS_MAX)


def _by(by: object) -> str:
    return check.text("by", by, limits.CONTEXT_CHARS_MAX)


def missing(id: int) -> NoReturn:
    """Raise JobNotFound."""
    raise JobNotFound("there is none", job_id=id, field=f"job {id}", fix="give the id of one whose history is kept")


def _unknown(name: str) -> NoReturn:
    raise UnknownQueue(f"there is no queue {name!r}", field="queue", fix="a queue begins with its first job or worker")


def _refuse_job(job: object, field: str) -> NoReturn:
    named = getattr(job, "__name__", None)
    fix = f"give {named}.job(…)" if named and hasattr(job, "job") else "give what task.job(…) returns"
    if isinstance(job, RunSpec) or hasattr(job, "siblings"):
        fix = "start a workflow's run with workflows.start"
    raise InvalidOption(f"got {type(job).__name__}", field=field, fix=fix)
