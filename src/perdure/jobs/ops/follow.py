"""Follow-ups: kept with a job when it is enqueued, enqueued in the transaction that ends it.

What can't be enqueued doesn't hold up the end of the job before it: for a queue that is full it is tried again by a
sweep, and for anything else the reason is kept with it (``perdure.follow_up.problem``) for somebody to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ...core import context, limits
from ...core.errors import ContextMissing, DuplicateJob, PerdureError, QueueSaturated
from ...core.op import Op, maybe, one, rows
from ...sql import statement
from ..model import Cause, Enqueued, JobSpec
from ..stored import revived
from ..work import End
from .attach import drop
from .enqueue import enqueue_each


@dataclass(frozen=True, slots=True)
class FollowUp:
    """One that is due: its number among those of its job, and the job to enqueue, as text."""

    job: int
    number: int
    spec: str


@dataclass(frozen=True, slots=True)
class Followers:
    """The jobs that follow a completed one; whether more will, and why one can't."""

    ids: list[int]
    pending: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A job whose follow-ups nobody has seen to: how it ended, and the context it had."""

    job: int
    outcome: str
    envelope: context.Envelope

    @property
    def cause(self) -> str:
        """What it is called in the context of whatever it causes."""
        return f"job:{self.job}"


FOLLOW_UPS = statement("jobs.follow_ups", lambda row: FollowUp(row["job"], row["number"], row["spec"]))
FIRED = statement("jobs.fired_follow_ups", lambda row: int(row["follower"]))
FOLLOWERS = statement("jobs.followers", lambda row: Followers(row["followers"], row["pending"], row["problem"]))
SPOIL = statement("jobs.spoil_follow_up", lambda row: int(row["job"]))
DUE = statement(
    "jobs.due_follow_ups",
    lambda row: Ended(row["job"], row["outcome"], context.read(msgspec.json.decode(row["context"] or "null"))),
)

CAUSES: Mapping[str, Cause] = {"completed": "success", "dead": "death", "crashed": "death"}
"""Ends that something may wait for. A crash may have been the last that the job is allowed."""


def follow(ends: Sequence[End]) -> Op[None]:
    """Fire the follow-ups of jobs that are ending so, in the transaction that ends them; drop those that wait for an
    end which these jobs won't have any more."""
    frames: dict[int, context.Frame] = {end.job.id: end.job for end in ends}
    yield from _fire([(end.job.id, CAUSES[end.verdict]) for end in ends if end.verdict in CAUSES], frames)
    final = [(end.job.id, end.verdict) for end in ends if end.verdict in ("completed", "cancelled", "expired")]
    yield from _drop_rest(final)


class Sweep:
    """The sweep of follow-ups whose job was ended by somebody who didn't see to them. It goes on where its last batch
    ended, so that those of a queue that stays full are in nobody's way."""

    def __init__(self) -> None:
        self._after = 0

    def __call__(self, limit: int, *, all: bool = True) -> Op[int]:
        """See to those of ``limit`` jobs; how many, and fewer than the limit when these were the last. ``all``: not
        only of the dead."""
        found = yield from rows(DUE, after=self._after, limit=limit, all=all)
        self._after = found[-1].job if len(found) == limit else 0
        done = 0
        for each in found:
            if each.outcome in CAUSES:
                done += yield from _fire([(each.job, CAUSES[each.outcome])], {each.job: each})
            if each.outcome != "dead":
                done += yield from _drop_rest([(each.job, each.outcome)])
        return limit if self._after else min(done, limit - 1)


def followers(id: int) -> Op[Followers]:
    """What follows this job, which has completed."""
    return (yield from one(FOLLOWERS, id=id))


def _fire(due: Sequence[tuple[int, Cause]], frames: Mapping[int, context.Frame]) -> Op[int]:
    """Enqueue what waits for these ends, and forget it; how many."""
    if not due:
        return 0
    jobs, causes = [job for job, _ in due], [cause for _, cause in due]
    found: list[tuple[FollowUp, JobSpec]] = []
    for each in (yield from rows(FOLLOW_UPS, jobs=jobs, causes=causes)):
        try:
            spec, inherited = revived(each.spec), context.following(frames[each.job])
            found.append((each, spec if inherited is None else spec.with_context(inherited)))
        except (PerdureError, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            yield from _spoil(each, error)
    fired: list[tuple[FollowUp, Enqueued]] = []
    try:
        written = yield from enqueue_each([spec for _, spec in found])
        fired = [(each, job) for (each, _), job in zip(found, written, strict=True)]
    except (ContextMissing, DuplicateJob, QueueSaturated):  # nothing of them was written
        for each, spec in found:
            if (alone := (yield from _fired_alone(each, spec))) is not None:
                fired.append((each, alone))
    return (yield from _note(fired))


def _note(fired: Sequence[tuple[FollowUp, Enqueued]]) -> Op[int]:
    """Forget those that are enqueued; how many. One whose key was taken, and whose own follow-ups are lost with that,
    stays with the reason: the chain ends there, and somebody has to know."""
    kept = []
    for each, job in fired:
        if job.dropped_follow_ups:
            yield from _spoil(each, _broken(job))
        else:
            kept.append((each, job))
    if kept:
        jobs, numbers = [each.job for each, _ in kept], [each.number for each, _ in kept]
        yield from rows(FIRED, jobs=jobs, numbers=numbers, followers=[job.id for _, job in kept])
    return len(kept)


def _broken(job: Enqueued) -> DuplicateJob:
    return DuplicateJob(
        f"its key is taken by job {job.id}, which isn't followed by the {job.dropped_follow_ups} that were to follow",
        job_id=job.id,
        place=job.place,
        field="unique",
        fix="enqueue them",
    )


def _fired_alone(due: FollowUp, spec: JobSpec) -> Op[Enqueued | None]:
    """Enqueue one whose mates may be to blame; None when it isn't."""
    try:
        return (yield from enqueue_each([spec]))[0]
    except QueueSaturated:
        return None
    except (ContextMissing, DuplicateJob) as error:
        yield from _spoil(due, error)
        return None


def _spoil(due: FollowUp, error: Exception) -> Op[None]:
    yield from maybe(SPOIL, job=due.job, number=due.number, problem=str(error)[: limits.REASON_CHARS_MAX])


def _drop_rest(final: Sequence[tuple[int, str]]) -> Op[int]:
    """Of jobs that have ended for good, forget what waits for another end than they had; how many."""
    dropped = yield from drop([(job, None, "death") for job, _ in final])
    return dropped + (yield from drop([(job, None, "success") for job, outcome in final if outcome != "completed"]))
