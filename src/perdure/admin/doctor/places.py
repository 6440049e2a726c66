"""The kernel's invariant: every live job stands in exactly one place."""

from __future__ import annotations

from ...core.op import Op, rows
from ...sql import report
from ..model import Check, Finding, Subject

NAME = "jobs.places"
MISPLACED = report("jobs.misplaced", lambda row: {"id": int(row["id"]), "problem": str(row["problem"])})
SHOWN_MAX = 20


def placed(subject: Subject) -> Op[list[Finding]]:
    """No job is in two places or in none, and nothing stands for a job that isn't there."""
    found = yield from rows(MISPLACED)
    if not found:
        return [Finding(NAME, "ok", "every live job stands in exactly one place", {"misplaced": 0})]
    said = (
        f"{len(found)} jobs don't stand in exactly one place. No statement of Perdure leaves them so: "
        "find out what else writes to its tables, and put them right by hand"
    )
    return [Finding(NAME, "fail", said, {"misplaced": len(found), "jobs": found[:SHOWN_MAX]})]


CHECKS = (Check(NAME, "Does every live job stand in exactly one place?", placed, seconds=30.0),)
