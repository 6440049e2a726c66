"""Whether somebody works on each queue that has something to do."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.op import Op, rows
from ...sql import report
from ..model import Check, Finding, Subject

UNATTENDED_FAIL_SECONDS = 60.0
"""A deployment leaves a queue without a worker for seconds; who waits longer waits for somebody to act."""


@dataclass(frozen=True, slots=True)
class Attended:
    """A queue with jobs that could run now, and how many living workers serve it."""

    queue: str
    ready: int
    oldest_seconds: float
    workers: int
    paused: bool


ATTENDED = report("queues.attended", lambda row: Attended(**row))


def attended(subject: Subject) -> Op[list[Finding]]:
    """Every queue with ready jobs has a living worker; a paused one waits on purpose."""
    found = yield from rows(ATTENDED)
    alone = [queue for queue in found if not queue.workers and not queue.paused]
    evidence = {
        each.queue: {"ready": each.ready, "oldest_seconds": round(each.oldest_seconds, 1), "workers": each.workers}
        for each in found
    }
    if not alone:
        return [Finding("queues.attended", "ok", "every queue with ready jobs has a living worker", evidence)]
    waits = max(queue.oldest_seconds for queue in alone)
    names = ", ".join(f"{queue.queue} ({queue.ready} ready)" for queue in alone)
    said = f"no living worker serves {names}: start one with `perdure worker APP --queues {alone[0].queue}`"
    return [Finding("queues.attended", "fail" if waits > UNATTENDED_FAIL_SECONDS else "warn", said, evidence)]


CHECKS = (Check("queues.attended", "Does somebody work on every queue that has ready jobs?", attended),)
