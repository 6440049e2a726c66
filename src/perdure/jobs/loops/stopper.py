"""The stopper: what others want stopped of the jobs that this worker holds, as its beats bring it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import rules
from ..work import End
from .runner import Runner


def stop(
    runners: Iterable[Runner], cancels: Iterable[int], pauses: Iterable[int], settle: Callable[[End], None]
) -> None:
    """Stop these jobs, to be cancelled or to be paused, where this worker holds them."""
    cancelled, paused = frozenset(cancels), frozenset(pauses)
    for runner in runners:
        if cancelled:
            runner.stop_jobs("cancelled", cancelled)
            for job in list(runner.backlog):  # a copy: threads pull from it meanwhile
                job.cancelled = job.cancelled or job.id in cancelled
        if paused:
            _pause(runner, paused, settle)


def _pause(runner: Runner, ids: frozenset[int], settle: Callable[[End], None]) -> None:
    """Tell those that run to stop, and set aside those that haven't begun. What must not run twice isn't stopped on its
    way."""
    running = [(slot.job, slot.handler) for slot in runner.slots]
    stoppable = frozenset(
        job.id
        for job, handler in running
        if job is not None
        and job.id in ids
        and not rules.at_most_once_for(job, handler is not None and handler.at_most_once)
    )
    if stoppable:
        runner.stop_jobs("paused", stoppable)
    if not any(job.id in ids for job in list(runner.backlog)):
        return
    unstarted = runner.take_back()
    for job in unstarted:
        if job.id in ids:
            settle(rules.paused(job))
    runner.offer(job for job in unstarted if job.id not in ids)
