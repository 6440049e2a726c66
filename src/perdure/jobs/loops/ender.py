"""The ender: what a handler returned or raised, as the end of its job. It never raises: that would end the worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ...core import limits
from ...core.endings import Ending, born_inside, storable
from ...core.errors import PerdureError, TransientError
from ...runtime.clock import monotonic, utc_now
from ...runtime.dice import jittered, roll
from ...runtime.nursery import NoChild
from .. import rules
from ..budget import CHILDLESS, UNSERVED
from ..handler import Context, Handler
from ..saves import Unfit
from ..view import gist
from ..work import Claimed, End
from .slot import Slot

log = logging.getLogger("perdure.run")

TOLD_MAX = 10
"""How often a coroutine is told to stop, a second apart, before its job ends without it. Counted and not timed: in a
worker that stands still no handler hears."""


def unstartable(job: Claimed, handler: Handler | None) -> End | None:
    """The end of a job that can't be started; None when it can."""
    if handler is not None and job.extras is None and not job.cancelled and not job.expired:
        return None
    version, asks = (None, False) if handler is None else (handler.version, handler.asks)
    once = rules.at_most_once_for(job, handler is not None and handler.at_most_once)
    return rules.unstartable(job, version=version, at_most_once=once, asks=asks)


def returned(job: Claimed, handler: Handler, value: object, given: Context | None = None) -> End:
    """The end of a handler that returned."""
    if value is None:
        return End(job, "completed", 1, monotonic() - job.started)
    if isinstance(value, Ending):
        return failed(job, handler, value, given)
    if isinstance(value, End):  # of a child, where the handler's own transaction has ended with its job
        value.job = job
        return value
    try:
        return End(job, "completed", 1, monotonic() - job.started, handler.encode(value))
    except PerdureError as error:
        return rules.unkept(job, error, monotonic() - job.started)


def raised(slot: Slot, job: Claimed, handler: Handler, error: BaseException) -> End:
    """The end of a handler that raised. Once it was told to stop, whatever it raises is how it stopped: pools and HTTP
    clients turn a cancellation into errors of their own, and the job mustn't be charged for that."""
    if slot.stop is not None:
        return stopped(slot, job, slot.stop)
    return childless(job, error) if isinstance(error, NoChild) else failed(job, handler, error, slot.context)


def childless(job: Claimed, error: BaseException) -> End:
    """The end of a job for which there was no child process that could begin it. Its handler was never called, so
    nobody is charged, and it is tried again for as long as it takes."""
    said = "job %d (%s) could not begin in a child process, and is tried again: %s"
    log.error(said, job.id, job.task, error, extra={"claimed": job})
    return put_off(job, storable(f"{CHILDLESS}\n{error}"))


def put_off(job: Claimed, why: str) -> End:
    """The end of a job that waits for a child, uncharged. A suspect stays one: only by ending by itself does it lose
    the mark, and a snooze would take it away."""
    suspect = job.extras is not None and job.extras.rescues > 0
    delay = jittered(limits.SUSPECT_PAUSE_SECONDS, 0.5)
    return End(job, "deferred" if suspect else "snooze", 0, text=why, delay=delay)


def failed(job: Claimed, handler: Handler, error: BaseException, given: Context | None = None) -> End:
    """The end of a failed attempt, whatever the error is made of: to raise here would end the worker. It is told,
    unless its handler, which was ``given`` that, may have completed the job before: then the settler finds out."""
    if isinstance(error, asyncio.CancelledError):
        error = born_inside("handler", error)
    if isinstance(error, Unfit):
        return rules.unfit(job, error)
    try:
        end = _judged(job, handler, error)
    except Exception as broken:
        # An ending of the application's own, say, that lacks what its base class keeps.
        broken.__cause__ = error
        end = _judged(job, handler, broken)
    if (given is not None and given.told) or (handler.run_in == "process" and handler.context is not None):
        end.written = "perhaps"
    else:
        tell(end)
    return end


def tell(end: End) -> None:
    """A line for each failed attempt. What completes is in history, and isn't told."""
    job = end.job
    if end.verdict == "retry":
        log.info("job %d (%s) failed: %s", job.id, job.task, gist(end.text), extra={"claimed": job})
    elif end.verdict == "dead":
        log.warning("job %d (%s) is dead: %s", job.id, job.task, gist(end.text), extra={"claimed": job})
    elif end.text is not None and end.text.startswith(UNSERVED):
        log.info("job %d (%s) is %s", job.id, job.task, gist(end.text), extra={"claimed": job})


def tell_late(end: End) -> None:
    """A line for a failure that changes nothing: a transaction of its handler's had completed the job before."""
    if end.verdict in ("retry", "dead"):
        job, told = end.job, gist(end.text)
        log.warning(
            "job %d (%s) has completed, and failed after that: %s", job.id, job.task, told, extra={"claimed": job}
        )


def refuse(end: End, now: str) -> None:
    """A line for an end that comes too late: nothing of it is written, and nothing is tried again."""
    job = end.job
    log.warning(
        "stale: job %d was claimed as generation %d and %s; its %s end was refused",
        job.id, job.generation, now, end.verdict, extra={"claimed": job},
    )  # fmt: skip


def _judged(job: Claimed, handler: Handler, error: BaseException) -> End:
    return rules.failed(
        job,
        error,
        rules.policy_for(job, handler.retry),
        elapsed=monotonic() - job.started,
        dice=roll(),
        now=utc_now(),
        at_most_once=rules.at_most_once_for(job, handler.at_most_once),
    )


def stopped(slot: Slot, job: Claimed, reason: str) -> End:
    """The end of a job that was told to stop."""
    handler, started = slot.handler, slot.queued is not job
    elapsed = monotonic() - job.started
    if reason == "timeout" and handler is not None:
        late = TimeoutError(f"still running after {elapsed:.3f} s, its timeout")
        return failed(job, handler, late, slot.context)
    if reason == "cancelled":
        return End(job, "cancelled", 1, elapsed, text="cancelled while it ran")
    if reason == "paused":
        return rules.paused(job, elapsed)
    if started and rules.at_most_once_for(job, handler is not None and handler.at_most_once):
        return End(job, "dead", 1, elapsed, text=f"stopped while it ran ({reason})", reason="needs_review")
    return End(job, "returned", 0, elapsed, reason=reason)


def give_up(slot: Slot, settle: Callable[[End], None]) -> None:
    """End a job whose coroutine has been told to stop often enough, and doesn't, as a thread's ends, which can't be
    told: its slot stays taken, what it still returns is dropped, and what it would still commit is rolled back."""
    handler, job, reason = slot.handler, slot.job, slot.stop
    deaf = handler is not None and handler.run_in == "loop" and not handler.asks and slot.times >= TOLD_MAX
    if not deaf or job is None or reason not in ("timeout", "cancelled"):
        return
    slot.job = None
    log.warning(
        "job %d (%s) has been told to stop %d times, and doesn't: it swallows its cancellation. The job ends now (%s); "
        "its slot is lost until the handler ends",
        *(job.id, job.task, slot.times, reason),
        extra={"claimed": job},
    )
    settle(stopped(slot, job, reason))


def concluded_here(slot: Slot, given: Context, handler: Handler, end: End) -> End:
    """On a thread: the end of a job whose handler has left a transaction, which is committed with it or rolled back. A
    job that was ended meanwhile has nothing to commit."""
    with slot.lock:
        slot.deadline, slot.ending = None, slot.job is not None
    try:
        return given.conclude_here(end if slot.ending else End(end.job, "returned", 0))
    except BaseException as error:
        return uncommitted(end.job, handler, error)


def uncommitted(job: Claimed, handler: Handler, error: BaseException) -> End:
    """The end of a job whose handler's transaction could not be committed with it."""
    if not isinstance(error, TransientError):
        return failed(job, handler, error)
    once = rules.at_most_once_for(job, handler.at_most_once)
    return rules.uncommitted(job, error, elapsed=monotonic() - job.started, dice=roll(), at_most_once=once)
