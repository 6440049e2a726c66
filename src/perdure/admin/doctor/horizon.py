"""What keeps vacuum from removing dead rows."""

from __future__ import annotations

from ...core.op import Op, rows
from ...sql import report
from ..model import Check, Finding, Subject

NAME = "pg.xmin_horizon"
WARN_SECONDS, FAIL_SECONDS = 600.0, 3_600.0

HOLDERS = report("server.horizon", lambda row: dict(row))


def held_back(subject: Subject) -> Op[list[Finding]]:
    """No transaction, prepared transaction or replication slot is so old that dead rows pile up behind it."""
    found = yield from rows(HOLDERS)
    old = [each for each in found if each["seconds"] is None or each["seconds"] > WARN_SECONDS]
    evidence = {"holders": found[:10], "warn_seconds": WARN_SECONDS, "fail_seconds": FAIL_SECONDS}
    if not old:
        return [Finding(NAME, "ok", "nothing old keeps vacuum from its work", evidence)]
    worst = max(old, key=lambda each: each["seconds"] or 0.0)
    age = "of unknown age" if worst["seconds"] is None else f"open for {worst['seconds'] / 60:.0f} min"
    said = (
        f"{worst['kind']} {worst['holder']} ({age}, {worst['what']}) keeps vacuum from removing dead rows, and running "
        f"VACUUM will not help: {worst['remedy']}"
    )
    return [Finding(NAME, "fail" if (worst["seconds"] or 0.0) > FAIL_SECONDS else "warn", said, evidence)]


CHECKS = (Check(NAME, "Does anything old keep vacuum from its work?", held_back, needs_schema=False),)
