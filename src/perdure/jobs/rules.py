"""Decisions about jobs, as values: how a claim's row becomes jobs in hand, and how what a handler did ends its job."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ..core import limits
from ..core.backoff import Again, Retry, decide
from ..core.endings import Cancel, Ending, Permanent, RetryAfter, Snooze, storable
from ..core.errors import InvalidOption, PerdureError, ServerUnavailable, TransientError
from ..core.op import Op
from .budget import UNSERVED
from .handler import Handler
from .saves import Unfit
from .work import Claimed, End, Extras, Lease

_PAYLOADS = msgspec.json.Decoder(list[msgspec.Raw])
_PAYLOAD = msgspec.json.Decoder(msgspec.Raw)
_EXTRAS = msgspec.json.Decoder(dict[str, Extras])
_EXTRA = msgspec.json.Decoder(Extras)
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},]')
"""What JSON is built of: texts, in which a bracket means nothing, and brackets and commas."""

_OWN_LOOPS = str(Path(__file__).parent / "loops")
"""Frames of the claim loop itself say nothing about a handler's failure."""

UNCOMMITTED_SECONDS = 1.0
"""About how long a job waits before it runs again, when Postgres couldn't commit its handler's transaction."""

UNSERVED_SECONDS = 5.0
"""About how long a job waits before it runs again, when its worker had no connection for its handler."""

INTERRUPTIONS_MAX = 10
"""How often in a row, about, a job may lose the connection of its handler's transaction uncharged: one whose statement
crashes the server would do it for ever."""

CAUSES_MAX = 20
"""How far back it is looked what an error was raised from."""


def in_hand(row: Mapping[str, Any]) -> list[Claimed]:
    """The jobs of a claim's one row, in the order in which they are to be started.

    The claim has committed, so whatever a job holds, this returns: one that can't be read is marked so, and its mates
    are run. An error here would end the worker, and the next one that claims the job, and the next.
    """
    ids: Sequence[int] = row["ids"]
    lease = Lease(row["lease"], len(ids))
    try:
        payloads, extras = _PAYLOADS.decode(row["payloads"]), _EXTRAS.decode(row["extras"]) if row["extras"] else None
    except Exception:
        payloads, extras = _one_by_one(row)
    jobs = [
        Claimed(id, generation, lease, attempt + 1, task, payload, created_at)
        for id, generation, attempt, task, payload, created_at in zip(
            ids, row["generations"], row["attempts"], row["tasks"], payloads, row["created_ats"], strict=True
        )
    ]
    if extras or row["cancels"] or row["expired"]:
        _remark(jobs, extras or {}, row)
    return jobs


def _remark(jobs: Iterable[Claimed], extras: Mapping[str, Extras], row: Mapping[str, Any]) -> None:
    """Note on each job what only few have."""
    cancels, expired = frozenset(row["cancels"] or ()), frozenset(row["expired"] or ())
    for job in jobs:
        job.extras = extra = extras.get(str(job.id))
        if extra is not None and (has_key(job) or has_follow_ups(job)):
            extra.sides = True
        job.cancelled = job.id in cancels
        job.expired = job.id in expired


def _one_by_one(row: Mapping[str, Any]) -> tuple[list[msgspec.Raw], dict[str, Extras]]:
    """Payloads and extras of a row that can't be read as a whole, each judged by itself."""
    extras: dict[str, Extras] = {}
    for member in _parts(row["extras"] or "{}"):
        name, _, text = member.partition(":")
        try:
            extra = _EXTRA.decode(text)
        except Exception as error:
            extra = Extras(unreadable=f"what was said about running it can't be read: {error}")
        extras[name.strip(' "')] = extra
    payloads = []
    for id, text in zip(row["ids"], _parts(row["payloads"]), strict=True):
        try:
            payload = _PAYLOAD.decode(text)
        except Exception as error:
            payload = msgspec.Raw(b"null")
            extras.setdefault(str(id), Extras()).unreadable = f"its arguments can't be read: {error}"
        payloads.append(payload)
    return payloads, extras


def _parts(text: str) -> Iterator[str]:
    """The texts between the commas of a JSON array or object, however deep each of them goes."""
    depth = start = 0
    for mark in _MARKS.finditer(text):
        sign = mark[0]
        if sign in "[{":
            depth += 1
            start = mark.end() if depth == 1 else start
        elif sign in "]}":
            depth -= 1
        if (depth == 0 or (depth == 1 and sign == ",")) and text[start : mark.start()].strip():
            yield text[start : mark.start()]
            start = mark.end()


def unstartable(job: Claimed, *, version: int | None, at_most_once: bool, asks: bool = False) -> End | None:
    """The end of a job that must not be started here, or None. No attempt is charged.

    ``version``: of the arguments that its task takes here; None when the task isn't known.

    An ``at_most_once`` job that was rescued may never have started: only the worker that was lost knew.
    """
    if job.cancelled and not asks:
        return End(job, "cancelled", 0, text="cancelled before it started")
    if job.expired:
        return End(job, "expired", 0, text="expired before it started")
    if job.extras is not None and job.extras.unreadable:
        return End(job, "dead", 0, text=job.extras.unreadable, reason="unreadable")
    if version is None:
        return parked(job)
    if job.version > version:
        return End(job, "held", 0, reason="newer_version", key=f"{job.task}@{job.version}")
    if at_most_once and job.extras is not None and job.extras.rescues:
        return End(job, "dead", 0, text="its worker was lost while it may have run", reason="needs_review")
    return None


def paused(job: Claimed, elapsed: float | None = None) -> End:
    """The end of a job that a person has paused, in the hands of a worker."""
    return End(job, "held", 0, elapsed, reason="paused", key="leased")


def parked(job: Claimed) -> End:
    """The end of a job whose task isn't known here: kept for a worker that knows it."""
    return End(job, "held", 0, reason="unknown_task", key=job.task)


def known(handlers: Iterable[Handler]) -> list[str]:
    """What parked jobs are released for: the names of the tasks, each version above the first that they take, and each
    version of a checkpoint that they can go on from."""
    return [key for handler in handlers for key in (handler.name, *_versions(handler), *_checkpoints(handler))]


def _versions(handler: Handler) -> Iterator[str]:
    return (f"{handler.name}@{version}" for version in range(2, handler.version + 1))


def _checkpoints(handler: Handler) -> Iterator[str]:
    if handler.context is not None:
        version = handler.checkpoint_version
        yield f"{handler.name}#{version}"
        while version - 1 in handler.checkpoint_upgrades:
            version -= 1
            yield f"{handler.name}#{version}"


def unfit(job: Claimed, error: Unfit) -> End:
    """The end of a job whose checkpoint this code can't go on from: kept for a worker that can."""
    return End(job, "held", 0, reason="checkpoint_version", key=f"{job.task}#{error.version}")


def unkept(job: Claimed, error: PerdureError, elapsed: float) -> End:
    """The end of a handler that returned what can't be kept. The work is done; running it again for a better result
    would do it twice."""
    return End(job, "dead", 1, elapsed, text=storable(str(error)), reason="bad_result")


def failed(
    job: Claimed, error: BaseException, policy: Retry, *, elapsed: float, dice: float, now: datetime, at_most_once: bool
) -> End:
    """The end of an attempt that raised (or returned an ending): retried, dead, snoozed or cancelled."""
    if isinstance(error, Snooze):
        return End(job, "snooze", 0, elapsed, text=_reason(error), delay=error.seconds(now))
    if isinstance(error, Cancel):
        return End(job, "cancelled", 1, elapsed, text=_reason(error))
    if (want := unserved(error)) is not None and not at_most_once:
        if isinstance(want, ServerUnavailable):
            text = storable(f"{UNSERVED}\n{type(want).__name__}: {want}")
            return End(job, "snooze", 0, elapsed, text=text, delay=UNSERVED_SECONDS * (0.5 + dice))
        if job.generation - job.attempt < INTERRUPTIONS_MAX:
            return uncommitted(job, error, elapsed=elapsed, dice=dice, at_most_once=False)
    text = describe(error)
    if at_most_once and not isinstance(error, Permanent):
        return End(job, "dead", 1, elapsed, text=text, reason="needs_review")
    verdict = decide(policy, job.attempt, error, dice=dice, now=now, **_spans(job, now))
    if isinstance(verdict, Again):
        return End(job, "retry", 1, elapsed, text=storable(f"{text}\n{verdict.why}"), delay=verdict.after)
    return End(job, "dead", 1, elapsed, text=storable(f"{text}\n{verdict.why}"), reason=verdict.reason)


def unserved(error: BaseException | None) -> TransientError | None:
    """What a handler's worker couldn't do for it, if the error comes from that (``raise … from``), or all errors of its
    group do: have a connection, or keep one that Postgres went away from. It isn't the job's failure: however long the
    wait for a connection is, only the job's own expiry bounds it. An ending is what the handler says, whatever it comes
    from."""
    for _ in range(CAUSES_MAX):
        if isinstance(error, TransientError) and error.of_worker:
            return error
        if isinstance(error, ServerUnavailable):
            return None
        if isinstance(error, BaseExceptionGroup):
            wants = [unserved(each) for each in error.exceptions]
            return None if None in wants else wants[0]
        if error is None or isinstance(error, Ending):
            break
        error = error.__cause__
    return None


def crashed(job: Claimed, text: str, policy: Retry, *, elapsed: float, dice: float, now: datetime) -> End:
    """The end of a suspect whose child died under it: one attempt. When the policy gives up, ``reason`` is set; the
    statement gives up, too, when it has died too often. Which errors the policy repeats is said of errors, not of this.
    """
    bare = replace(policy, retry_on=Exception, never_on=())
    verdict = decide(bare, job.attempt, ChildProcessError(text), dice=dice, now=now, **_spans(job, now))
    if isinstance(verdict, Again):
        return End(job, "crashed", 1, elapsed, text=text, delay=verdict.after)
    return End(job, "crashed", 1, elapsed, text=f"{text}\n{verdict.why}", reason="worker_lost")


def _spans(job: Claimed, now: datetime) -> dict[str, Any]:
    """Seconds since the job's enqueue, and until it expires."""
    expires_at = job.extras.expires_at if job.extras is not None else None
    return {
        "elapsed": max((now - job.created_at).total_seconds(), 0.0),
        "remaining": None if expires_at is None else expires_at - now.timestamp(),
    }


def uncommitted(job: Claimed, error: BaseException, *, elapsed: float, dice: float, at_most_once: bool) -> End:
    """The end of a handler that returned, and whose own transaction couldn't be committed with its job's end, for no
    fault of its own: it runs again, and nobody is charged. Unless that commit has reached the server after all."""
    text = describe(error)
    if at_most_once:
        return End(job, "dead", 1, elapsed, text=text, reason="needs_review", written="perhaps")
    return End(job, "retry", 0, elapsed, text=text, delay=UNCOMMITTED_SECONDS * (0.5 + dice), written="perhaps")


def lost_early(seconds: float) -> bool:
    """Whether a transaction, open for so long, whose connection is gone has lost it because Postgres was away. After
    that long Postgres may have ended its session for just that, and would do so each time: its code is at fault."""
    return seconds < limits.HANDLER_IDLE_SECONDS


def has_key(job: Claimed) -> bool:
    """Whether whoever ends the job for good has a unique key to let go of."""
    return job.extras is not None and job.extras.options is not None and "unique" in job.extras.options


def has_follow_ups(job: Claimed) -> bool:
    """Whether whoever ends the job has follow-ups to see to."""
    return job.extras is not None and job.extras.options is not None and "follow_ups" in job.extras.options


def policy_for(job: Claimed, declared: Retry) -> Retry:
    """The retry policy of one job: what its enqueuer said, else what its task declares.

    Options this version can't read (of a newer enqueuer, say) don't stop the job: the declared policy holds.
    """
    stored = job.extras.options.get("retry") if job.extras and job.extras.options else None
    try:
        return Retry.from_options(stored, code=declared) if stored is not None else declared
    except (InvalidOption, TypeError):
        return declared


def timeout_for(job: Claimed, declared: float | None) -> float | None:
    """Seconds one attempt may run: what the job's enqueuer said, else what its task declares; None for no bound."""
    stored = job.extras.options.get("timeout") if job.extras and job.extras.options else None
    return float(stored) if isinstance(stored, int | float) else declared


def at_most_once_for(job: Claimed, declared: bool) -> bool:
    """Whether a job must not be started twice: what its enqueuer said, else what its task declares."""
    said = job.extras.options.get("at_most_once") if job.extras and job.extras.options else None
    return said if isinstance(said, bool) else declared


def describe(error: BaseException) -> str:
    """What is kept of an error: its end, where the line that failed and the message stand."""
    if isinstance(error, RetryAfter | Permanent):
        reason = _reason(error)
        return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OWN_LOOPS):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames)).strip()
    return storable(text)[-limits.ERROR_TEXT_CHARS_MAX :]


def _reason(ending: Ending) -> str | None:
    """An ending's reason; a class of the application's own may have set it to anything."""
    return storable(str(ending.reason)) if ending.reason else None


def grouped(ends: Iterable[End]) -> dict[tuple[str, int, int], list[End]]:
    """Ends by the statement that settles them: (verdict, generation, charge). Nearly always one group."""
    groups: dict[tuple[str, int, int], list[End]] = {}
    for end in ends:
        groups.setdefault((end.verdict, end.job.generation, end.charge), []).append(end)
    return groups


def several(ends: Sequence[End]) -> bool:
    """Whether settling the ends takes more than one statement: of several kinds, or with something to follow."""
    first = ends[0]
    kind = (first.verdict, first.job.generation, first.charge)
    return any((end.verdict, end.job.generation, end.charge) != kind or end.then is not None for end in ends)


def followed(ends: Iterable[End], stale: Sequence[End]) -> dict[Callable[[Sequence[End]], Op[object]], list[End]]:
    """What follows ends that were settled, and for which of them."""
    groups: dict[Callable[[Sequence[End]], Op[object]], list[End]] = {}
    for end in ends:
        if end.then is not None and end not in stale:
            groups.setdefault(end.then, []).append(end)
    return groups
