"""Whether the days of history are made ahead of time."""

from __future__ import annotations

from ...core.op import Op, rows
from ...sql import report
from ..model import Check, Finding, Subject

NAME = "history.days"
DAYS = report("history.days", lambda row: dict(row))


def ahead(subject: Subject) -> Op[list[Finding]]:
    """Tomorrow has its partition in each table by day; without one, rows go to the default partition."""
    found = yield from rows(DAYS)
    evidence = {each["parent"]: {name: each[name] for name in each if name != "parent"} for each in found}
    short = [each["parent"] for each in found if each["days_ahead"] < 1]
    missing = [each["parent"] for each in found if each["days_ahead"] < 0]
    if missing:
        said = (
            f"today has no partition in {' and '.join(missing)}, so rows go to the default one; "
            "a living worker makes the days within the hour: see background.days"
        )
        return [Finding(NAME, "fail", said, evidence)]
    if short:
        said = f"tomorrow has no partition in {' and '.join(short)} yet: a living worker makes it within the hour"
        return [Finding(NAME, "warn", said, evidence)]
    return [Finding(NAME, "ok", "the days ahead have their partitions", evidence)]


CHECKS = (Check(NAME, "Are the days of history made ahead of time?", ahead),)
