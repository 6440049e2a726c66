"""Decisions about jobs, as values: how a claim's row becomes jobs in hand, and how what a handler did ends its job."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ..core import limits
from ..core.backoff import Again, Retry, decide
from ..core.endings import Cancel, Permanent, RetryAfter, Snooze
from ..core.errors import InvalidOption
from .work import Claimed, End, Extras, Lease

_PAYLOADS = msgspec.json.Decoder(list[msgspec.Raw])
_OWN_LOOPS = str(Path(__file__).parent / "loops")
"""Frames of the claim loop itself say nothing about a handler's failure."""

_EXTRAS = msgspec.json.Decoder(dict[str, Extras])


def in_hand(row: Mapping[str, Any]) -> list[Claimed]:
    """The jobs of a claim's one row, in the order in which they are to be started."""
    ids: Sequence[int] = row["ids"]
    lease = Lease(row["lease"], len(ids))
    jobs = [
        Claimed(id, generation, lease, attempt + 1, task, payload, created_at)
        for id, generation, attempt, task, payload, created_at in zip(
            ids,
            row["generations"],
            row["attempts"],
            row["tasks"],
            _PAYLOADS.decode(row["payloads"]),
            row["created_ats"],
            strict=True,
        )
    ]
    if row["extras"] or row["cancels"] or row["expired"]:
        _remark(jobs, row)
    return jobs


def _remark(jobs: Iterable[Claimed], row: Mapping[str, Any]) -> None:
    """Note on each job what only few have."""
    extras = _EXTRAS.decode(row["extras"]) if row["extras"] else {}
    cancels, expired = frozenset(row["cancels"] or ()), frozenset(row["expired"] or ())
    for job in jobs:
        job.extras = extras.get(str(job.id))
        job.cancelled = job.id in cancels
        job.expired = job.id in expired


def unstartable(job: Claimed, *, known: bool, at_most_once: bool) -> End | None:
    """The end of a job that must not be started here, or None. No attempt is charged."""
    if job.cancelled:
        return End(job, "cancelled", 0, text="cancelled before it started")
    if job.expired:
        return End(job, "expired", 0, text="expired before it started")
    if not known:
        return parked(job)
    if at_most_once and job.extras is not None and job.extras.rescues:
        return End(job, "dead", 0, text="its worker was lost while it may have run", reason="needs_review")
    return None


def parked(job: Claimed) -> End:
    """The end of a job whose task isn't known here: kept for a worker that knows it."""
    return End(job, "held", 0, reason="unknown_task", key=job.task)


def failed(
    job: Claimed, error: BaseException, policy: Retry, *, elapsed: float, dice: float, now: datetime, at_most_once: bool
) -> End:
    """The end of an attempt that raised (or returned an ending): retried, dead, snoozed or cancelled."""
    if isinstance(error, Snooze):
        return End(job, "snooze", 0, elapsed, text=error.reason or None, delay=error.seconds(now))
    if isinstance(error, Cancel):
        return End(job, "cancelled", 1, elapsed, text=error.reason or None)
    text = describe(error)
    if at_most_once and not isinstance(error, Permanent):
        return End(job, "dead", 1, elapsed, text=text, reason="needs_review")
    since = max((now - job.created_at).total_seconds(), 0.0)
    expires_at = job.extras.expires_at if job.extras is not None else None
    remaining = None if expires_at is None else (expires_at - now).total_seconds()
    verdict = decide(policy, job.attempt, error, dice=dice, now=now, elapsed=since, remaining=remaining)
    if isinstance(verdict, Again):
        return End(job, "retry", 1, elapsed, text=f"{text}\n{verdict.why}", delay=verdict.after)
    return End(job, "dead", 1, elapsed, text=f"{text}\n{verdict.why}", reason=verdict.reason)


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


def describe(error: BaseException) -> str:
    """What is kept of an error: its end, where the line that failed and the message stand."""
    if isinstance(error, RetryAfter | Permanent):
        return f"{type(error).__name__}: {error.reason}" if error.reason else type(error).__name__
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OWN_LOOPS):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames)).strip().replace("\x00", "\\0")
    # Postgres text must be UTF-8: an unpaired surrogate in a message is shown, not sent.
    return text.encode("utf-8", "backslashreplace").decode()[-limits.ERROR_TEXT_CHARS_MAX :]


def grouped(ends: Iterable[End]) -> dict[tuple[str, int, int], list[End]]:
    """Ends by the statement that settles them: (verdict, generation, charge). Nearly always one group."""
    groups: dict[tuple[str, int, int], list[End]] = {}
    for end in ends:
        groups.setdefault((end.verdict, end.job.generation, end.charge), []).append(end)
    return groups
