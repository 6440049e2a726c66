"""Whether what is to follow jobs can be enqueued."""

from __future__ import annotations

from ...core.op import Op, rows
from ...sql import report
from ..model import Check, Finding, Subject

NAME = "jobs.broken_chains"
BROKEN = report("jobs.broken_chains", lambda row: dict(row))
SHOWN_MAX = 20


def broken(subject: Subject) -> Op[list[Finding]]:
    """No job has ended without that what was to follow it could be enqueued."""
    found = yield from rows(BROKEN)
    if not found:
        return [Finding(NAME, "ok", "no job is waited for by what can't follow it", {"broken": 0})]
    said = (
        f"{len(found)} follow-ups can't be enqueued, first of job {found[0]['job']} ({found[0]['problem']}): enqueue "
        "what is still wanted. `perdure report jobs.broken_chains` lists them; each is forgotten with its job"
    )
    return [Finding(NAME, "warn", said, {"broken": len(found), "follow_ups": found[:SHOWN_MAX]})]


CHECKS = (Check(NAME, "Is there a job that can't be followed by what was to follow it?", broken),)
