"""Whether housekeeping is done: each kind of chore by itself, and whether a crash loop pauses it."""

from __future__ import annotations

from typing import Any

from ...core import limits
from ...core.op import Op, rows
from ...fleet.ops.workers import crashes
from ...sql import report
from ..model import Check, Finding, Status, Subject

UNITS = report("background.units", lambda row: dict(row))

LATE_PERIODS = 2.0
"""A duty whose last success is older than so many of its periods is late, while workers live."""


def units(subject: Subject) -> Op[list[Finding]]:
    """No chore is parked, fails, or is late."""
    found = yield from rows(UNITS)
    if not found:
        return [Finding("background.chores", "ok", "no worker has done any housekeeping yet, or had to", {})]
    return [judged(unit) for unit in found]


def judged(unit: dict[str, Any]) -> Finding:
    """What is to be said of one chore."""
    name, failures = f"background.{unit['name']}", unit["consecutive_failures"]
    evidence = {key: value for key, value in unit.items() if key != "name"}
    told = f"it failed {failures} times in a row, the last time with: {unit['last_error']}"
    if unit["parked_until"] is not None:
        said = f"{unit['name']} is parked: {told}. Correct the cause, then run `perdure chores unpark {unit['name']}`"
        return Finding(name, "fail", said, evidence)
    if failures:
        status: Status = "fail" if failures >= limits.CHORE_FAILURES_MAX else "warn"
        return Finding(name, status, f"{told}; it is tried again by itself", evidence)
    late = unit["late_periods"]
    if unit["workers"] and late is not None and late > LATE_PERIODS:
        blocked = f", last held up by: {unit['last_error']}" if unit["last_error"] else ""
        return Finding(name, "warn", f"it was last done {late:.1f} of its periods ago{blocked}", evidence)
    return Finding(name, "ok", "it is done when it is due", evidence)


def crash_loop(subject: Subject) -> Op[list[Finding]]:
    """Workers don't end uncleanly again and again."""
    found = yield from crashes()
    evidence = {"crashes": found.count, "window_seconds": limits.CRASH_WINDOW_SECONDS, "last": found.named}
    name = "proc.crash_loop"
    if found.safe_mode:
        said = (
            f"{found.count} workers ended uncleanly within {limits.CRASH_WINDOW_SECONDS / 60:.0f} minutes, so what no "
            "job waits for is paused: find out why from the workers' logs, their memory, "
            "and `perdure jobs --place dead`; then run `perdure chores resume`, or wait"
        )
        return [Finding(name, "fail", said, evidence)]
    if found.count > 1:
        return [Finding(name, "warn", f"{found.count} workers ended uncleanly lately: see their logs", evidence)]
    return [Finding(name, "ok", "workers end cleanly", evidence)]


CHECKS = (
    Check("proc.crash_loop", "Do workers end uncleanly again and again?", crash_loop),
    Check("background.*", "Is housekeeping done?", units),
)
