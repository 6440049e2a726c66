"""What there is to say about jobs, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, TypedDict

import msgspec

from ..core import check, codec, context, limits
from ..core.backoff import Retry
from ..core.errors import InvalidArgument, InvalidInput, InvalidOption
from . import unique
from .unique import OnConflict, Unique

Cause: TypeAlias = Literal["success", "death"]
"""Which end of a job a follow-up waits for."""


class Options(TypedDict, total=False):
    """What may be said about one job when it is enqueued. What isn't said is the task's to declare."""

    queue: str
    key: str | None
    priority: int | None
    delay: timedelta | float | None
    run_at: datetime | None
    expires: datetime | timedelta | float | None
    timeout: timedelta | float | None
    retry: Retry | None
    tags: Sequence[str]
    at_most_once: bool | None
    context: context.Envelope | Mapping[str, str | None] | None
    unique: Unique | str | bool | None
    on_conflict: OnConflict | None


class Enqueued(msgspec.Struct, frozen=True, gc=False):
    """A job that was written: ``id`` is how to ask for it.

    ``duplicate``: its unique key was taken, and it is the job that holds the key. Then ``place`` is where that one
    stands ("gone" when its history has been dropped), ``differs`` whether it was enqueued with other arguments,
    ``replaced`` whether it waited and has been given these, and ``dropped_follow_ups`` how many jobs that were to
    follow this one will not, because it isn't written and the one that is there keeps its own.
    """

    id: int
    duplicate: bool = False
    place: str | None = None
    differs: bool = False
    replaced: bool = False
    dropped_follow_ups: int = 0


class JobSpec(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job to be enqueued: which task, with which arguments, and what is said about running it. Checked when made.

    ``payload`` is the arguments by name, as JSON object text. None means not said: what the task or the queue declares
    applies. ``delay`` and a relative ``expires`` count from the enqueue and may be given as seconds, ``timeout`` as a
    timedelta; ``delay`` and ``run_at`` exclude each other. ``context`` is an envelope's stored form, and may be given
    as an Envelope or its words; not said, it is what is bound where the job is enqueued, and an empty one is none.
    ``version``: of the arguments, which the task declares. ``unique`` may be given as a key, or as True.
    ``follow_ups``: what ``then`` and ``on_death`` have added. Raises InvalidOption, naming the option.

    A Struct and not a dataclass because thousands are made in one ``enqueue_many``: 0.5 µs each, against 2.
    """

    task: str
    payload: str
    queue: str = "default"
    key: str | None = None
    priority: int | None = None
    delay: timedelta | None = None
    run_at: datetime | None = None
    expires: datetime | timedelta | None = None
    timeout: float | None = None
    retry: Retry | None = None
    tags: tuple[str, ...] = ()
    at_most_once: bool | None = None
    context: str | None = None
    version: int = 1
    unique: Unique | None = None
    on_conflict: OnConflict | None = None
    follow_ups: tuple[FollowUp, ...] = ()

    def __post_init__(self) -> None:
        check.name("task", self.task, limits.TASK_NAME_CHARS_MAX)
        _check_payload(self.payload)
        if self.version != 1:
            check.version("version", self.version)
        if self.follow_ups != ():
            _check_kept(self.follow_ups)
        self._check_options()

    def _check_options(self) -> None:
        check.name("queue", self.queue, limits.QUEUE_NAME_CHARS_MAX)
        if self.key is not None:
            check.text("key", self.key, limits.KEY_CHARS_MAX)
        if self.priority is not None:
            check.priority("priority", self.priority)
        if self.delay is not None:
            _keep(self, "delay", check.delay("delay", self.delay))
        if self.run_at is not None:
            check.moment("run_at", self.run_at)
        if self.delay is not None and self.run_at is not None:
            raise InvalidOption("is given together with run_at", field="delay", fix="give one, and None for the other")
        if self.expires is not None:
            _keep(self, "expires", check.expiry("expires", self.expires))
            self._check_reachable(self.expires)
        if self.timeout is not None:
            _keep(self, "timeout", check.seconds("timeout", self.timeout))
        if self.retry is not None:
            _check_policy(self.retry)
        if self.tags != ():
            _keep(self, "tags", check.tags("tags", self.tags))
        if self.at_most_once is not None:
            check.flag("at_most_once", self.at_most_once)
        if self.context is not None:
            _keep(self, "context", context.checked(self.context))
        if self.unique is not None:
            _keep(self, "unique", unique.checked(self.unique))
        if self.on_conflict is not None:
            unique.check_conflict(self.on_conflict, self.unique)

    def options(self, **changes: Any) -> JobSpec:
        """A copy with these options changed: queue, key, priority, delay, run_at, expires, timeout, retry, tags,
        at_most_once, context, unique, on_conflict. Raises InvalidOption for another name, or for a value that isn't
        allowed.
        """
        for option in changes.keys() - _OPTIONS:
            raise InvalidOption("is not an option of a job", field=option, fix=f"use {', '.join(sorted(_OPTIONS))}")
        made = self._copied()
        for option, value in changes.items():
            _keep(made, option, value)
        made._check_options()
        return made

    def then(self, *jobs: JobSpec) -> JobSpec:
        """A copy after which these are enqueued when it completes, in the transaction that completes it.

        They inherit its context, and may have follow-ups of their own. A job that is cancelled, expires or is discarded
        drops them. Raises InvalidOption for more than FOLLOW_UPS_MAX in all, FOLLOW_UPS_DEPTH_MAX in a row, or as much
        text as one job may have.
        """
        return self._followed("success", jobs)

    def on_death(self, *jobs: JobSpec) -> JobSpec:
        """A copy after which these are enqueued when it goes to the dead for the first time; otherwise as ``then``."""
        return self._followed("death", jobs)

    def _followed(self, cause: Cause, jobs: Sequence[object]) -> JobSpec:
        _check_jobs("follow_ups", jobs)
        made = self._copied()
        added = tuple(FollowUp(cause, job) for job in jobs if isinstance(job, JobSpec))
        _keep(made, "follow_ups", self.follow_ups + added)
        _check_follow_ups(made)
        return made

    def with_payload(self, payload: str) -> JobSpec:
        """A copy with other arguments, JSON object text that a signature has bound or accepted; nothing is checked
        again: 0.15 µs, against 0.7 for a spec that is made anew."""
        made = self._copied()
        _keep(made, "payload", payload)
        return made

    def with_context(self, stored: str) -> JobSpec:
        """A copy with a context in its stored form, which isn't checked again; the spec itself when it has one."""
        if self.context is not None:
            return self
        made = self._copied()
        _keep(made, "context", stored)
        return made

    def _copied(self) -> JobSpec:
        """A copy that isn't checked. Every Struct has ``__copy__``; ``copy.copy`` takes twice the time."""
        made: JobSpec = self.__copy__()  # type: ignore[attr-defined]
        return made

    def _check_reachable(self, expires: datetime | timedelta) -> None:
        """Refuse an expiry that comes before the job is due, where both are known."""
        due = self.run_at if isinstance(expires, datetime) else self.delay
        if due is not None and expires <= due:  # type: ignore[operator]  # both are datetimes, or both are timedeltas
            raise InvalidOption(
                "comes before the job is due", field="expires", fix="let the job expire after it is due"
            )


_OPTIONS = frozenset(JobSpec.__struct_fields__) - {"task", "payload", "version", "follow_ups"}


class FollowUp(msgspec.Struct, frozen=True, gc=False):
    """A job that is enqueued when the one before it ends so."""

    cause: Cause
    job: JobSpec


def chain(*jobs: JobSpec) -> JobSpec:
    """The first of these jobs, each followed by the next one when it has completed. Raises InvalidOption."""
    if not jobs:
        raise InvalidOption("is empty", field="chain", fix="give at least one job")
    _check_jobs("chain", jobs)
    chained = jobs[-1]
    for job in reversed(jobs[:-1]):
        chained = job.then(chained)
    return chained


def _check_jobs(option: str, jobs: Sequence[object]) -> None:
    for job in jobs:
        if not isinstance(job, JobSpec):
            raise InvalidOption(f"got {type(job).__name__}", field=option, fix="give what task.job(…) returns")


def _keep(spec: JobSpec, option: str, value: object) -> None:
    """Keep the checked form of an option; only while the spec is being made."""
    msgspec.structs.force_setattr(spec, option, value)


def _check_payload(payload: object) -> None:
    """Refuse what isn't a JSON object; what a task's signature has bound or accepted doesn't come by here."""
    if not isinstance(payload, str):
        raise InvalidArgument(f"got {type(payload).__name__}", field="payload", fix="give JSON object text")
    try:
        codec.accept(payload)
    except InvalidInput as error:
        error.field = error.field or "payload"
        raise
    if not payload.lstrip().startswith("{"):
        raise InvalidArgument("is no JSON object", field="payload", fix="give the arguments by name: {…}")


def _check_kept(follow_ups: object) -> None:
    if not isinstance(follow_ups, tuple) or not all(isinstance(each, FollowUp) for each in follow_ups):
        raise InvalidOption("is for then and on_death to add to", field="follow_ups", fix="use job.then(…)")


def _check_follow_ups(spec: JobSpec) -> None:
    """Refuse a tree of follow-ups that is too large; it can't have a circle, since each is made of finished ones."""
    count, depth, chars = _measure(spec)
    if count > limits.FOLLOW_UPS_MAX:
        problem = f"are {count:,} in all"
    elif depth > limits.FOLLOW_UPS_DEPTH_MAX:
        problem = f"are {depth:,} in a row"
    elif chars > limits.PAYLOAD_BYTES_MAX:
        problem = f"have {chars:,} characters of arguments in all"
    else:
        return
    most = f"{limits.FOLLOW_UPS_MAX} in all, {limits.FOLLOW_UPS_DEPTH_MAX} in a row, {limits.PAYLOAD_BYTES_MAX:,} bytes"
    raise InvalidOption(problem, field="follow_ups", fix=f"give at most {most}; let a job enqueue what comes later")


def _measure(spec: JobSpec) -> tuple[int, int, int]:
    """Of all follow-ups: how many, how deep, and how long their arguments are."""
    count = depth = chars = 0
    for each in spec.follow_ups:
        below = _measure(each.job)
        count, depth, chars = count + 1 + below[0], max(depth, 1 + below[1]), chars + len(each.job.payload) + below[2]
    return count, depth, chars


def _check_policy(policy: object) -> None:
    if not isinstance(policy, Retry):
        raise InvalidOption(f"got {type(policy).__name__}", field="retry", fix="give a Retry")
    if not policy.travels:
        raise InvalidOption(
            "retry_on and never_on are code, and can't be stored with a job",
            field="retry",
            fix="declare them on the task",
        )
