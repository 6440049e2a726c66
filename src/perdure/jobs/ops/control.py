"""What a person or a program does to one job: get, list, cancel, retry, redrive, discard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ...core.op import Op, maybe, one, rows
from ...sql import statement
from ..view import Attempt, Job
from .unique import release_keys
from .wake import wake

GET = statement("jobs.get", Job.read)
LIST = statement("jobs.list", Job.read)
ATTEMPTS = statement("jobs.attempts", lambda row: Attempt(**row))
UNSEAT = statement("jobs.unseat", lambda row: int(row["id"]))
CANCEL = statement("jobs.cancel", lambda row: int(row["id"]))
DISCARD = statement("jobs.discard", lambda row: row["ids"] or [])
REQUEST_CANCEL = statement("jobs.request_cancel", lambda row: int(row["asked"]))
REDRIVE = statement("jobs.redrive", lambda row: row["ids"] or [])
HURRY = statement("jobs.hurry", lambda row: int(row["id"]))
LET_GO = statement("jobs.let_go", lambda row: int(row["id"]))

LEFT_OVER = statement("jobs.left_over", lambda row: int(row["jobs"]))
HASTEN = statement("jobs.hasten", lambda row: int(row["jobs"]))

PARKED_FOR_A_PERSON = ("context_missing",)
"""Reasons of ``held`` that no worker takes back by itself, and that have no verb of their own."""

CancelAnswer = Literal["cancelled", "requested", "finished", "dead", "missing"]
DiscardAnswer = Literal["discarded", "alive", "finished", "missing"]


def get(id: int) -> Op[Job | None]:
    """One job, wherever it stands."""
    return (yield from maybe(GET, id=id))


def list_jobs(
    *,
    queue: str | None = None,
    place: str | None = None,
    task: str | None = None,
    tag: str | None = None,
    cursor: int | None = None,
    limit: int,
) -> Op[list[Job]]:
    """Jobs, newest first, below the cursor (the id of the last one seen)."""
    return (yield from rows(LIST, queue=queue, place=place, task=task, tag=tag, cursor=cursor, limit=limit))


def attempts(id: int) -> Op[list[Attempt]]:
    """How the job's attempts ended, in order, as far as they are still kept."""
    return (yield from rows(ATTEMPTS, id=id))


def cancel(id: int, reason: str | None = None, *, force: bool = False) -> Op[CancelAnswer]:
    """End a job that waits; ask the worker to stop one that runs. First committed wins.

    Both happen in the caller's transaction. "requested": the job is leased, or was a moment ago; whoever handles it
    next honours the request. "finished" and "dead": too late, nothing was done. A leased job's row isn't locked: the
    caller's transaction may stay open for long, and what else its worker settles would wait for it. A workflow's run is
    requested to end wherever it stands, since it may have something to undo; ``force`` ends it where it waits.
    """
    if (yield from maybe(CANCEL, id=id, reason=reason, asked=False, force=force)) is not None:
        yield from release_keys([id])
        return "cancelled"
    job = yield from get(id)
    if job is None:
        return "missing"
    if job.finished:
        return "dead" if job.place == "dead" else "finished"
    yield from one(REQUEST_CANCEL, id=id, reason=reason)
    if job.place == "waiting":
        yield from wake([id])
    return "requested"


def cancel_many(ids: Iterable[int], reason: str | None = None) -> Op[dict[int, CancelAnswer]]:
    """Cancel each of them, as ``cancel`` does; the answers by id.

    In ascending id, whatever order they are given in: two that overlap wait for each other's requests, and would wait
    in a circle. A job that another transaction is cancelling at the moment is "requested".
    """
    answers: dict[int, CancelAnswer] = {}
    for id in sorted(set(ids)):
        answers[id] = yield from cancel(id, reason)
    return answers


def discard(id: int, reason: str | None = None) -> Op[DiscardAnswer]:
    """Move a dead job to history as discarded. Anything else is left alone: "alive", "finished", "missing".

    Nothing is locked of a job that isn't dead: what its worker settles would wait for the caller's transaction.
    """
    if (yield from discard_some([id], reason)):
        return "discarded"
    job = yield from get(id)
    if job is None:
        return "missing"
    return "finished" if job.place == "history" else "alive"


def discard_some(ids: Sequence[int], reason: str | None) -> Op[list[int]]:
    """File those of these jobs that are dead in history; which they were."""
    found = yield from one(DISCARD, ids=ids, reason=reason)
    if found:
        yield from release_keys(found)
    return found


def retry(id: int) -> Op[bool]:
    """Run a job now: a dead one again from its first attempt, a scheduled one without waiting, one that was parked for
    a person to decide. False: none of these. As with ``discard``, a job that runs isn't locked."""
    job = yield from get(id)
    place = None if job is None else job.place
    if place == "dead":
        return bool((yield from redrive_some([id])))
    if place == "held":
        return (yield from maybe(LET_GO, id=id, reasons=list(PARKED_FOR_A_PERSON))) is not None
    if place != "scheduled" or (yield from maybe(UNSEAT, id=id)) is None:
        return False
    if (yield from maybe(HURRY, id=id)) is not None:
        return True
    # Still scheduled, yet not to be had: a promotion has locked the row, and moves it once our lock on the job is gone.
    job = yield from get(id)
    return job is not None and job.place == "scheduled"


def redrive(id: int, by: str | None = None, *, runs: bool = False) -> Op[bool]:
    """Run a dead job again, from its first attempt. False when it isn't dead. ``by``: who does it. ``runs``: as for
    ``redrive_some``."""
    return bool((yield from redrive_some([id], by=by, runs=runs)))


def left_over(worker: int) -> Op[int]:
    """How many jobs are left that a worker could do at once, or does."""
    return (yield from one(LEFT_OVER, worker=worker))


def hasten(seconds: float) -> Op[int]:
    """Let so much time pass for all jobs that are due later; how many."""
    return (yield from one(HASTEN, seconds=seconds))


def redrive_some(
    ids: Sequence[int], *, by: str | None = None, rate: float | None = None, before: int = 0, runs: bool = False
) -> Op[list[int]]:
    """Run those of these jobs that are dead again; which they were.

    ``by``: who does it, which their contexts say from then on. ``rate``: so many a second are due, the first at once;
    ``before``: how many of the same act went before them. Runs of workflows are left alone, unless ``runs`` says that
    what they have recorded of their end is taken back by whoever asks.
    """
    return (yield from one(REDRIVE, ids=ids, by=by, rate=rate, before=before, runs=runs))
