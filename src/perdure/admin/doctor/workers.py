"""Whether the workers live, and may all have their connections."""

from __future__ import annotations

from ...core.op import Op, rows
from ...fleet import rules
from ...fleet.ops.workers import connections
from ...sql import report
from ..model import Check, Finding, Subject

STALE_WARN_SECONDS = 5.0
"""Past its beat a worker is declared dead by the next look of any other, which comes within a second."""

STALE = report("workers.stale", lambda row: dict(row))


def heartbeats(subject: Subject) -> Op[list[Finding]]:
    """No worker is silent without having been declared dead: then nobody is there to take its jobs."""
    found = yield from rows(STALE)
    late = [each for each in found if each["silent_seconds"] > STALE_WARN_SECONDS]
    if not late:
        return [Finding("workers.heartbeats", "ok", "no worker is overdue", {"overdue": len(found)})]
    held = sum(each["jobs"] for each in late)
    said = (
        f"{len(late)} workers are silent and nobody has declared them dead: they hold {held} jobs. "
        "Start a worker: any one takes over what the silent ones hold"
    )
    return [Finding("workers.heartbeats", "fail", said, {"workers": late[:20]})]


def budget(subject: Subject) -> Op[list[Finding]]:
    """The server has enough connections for every worker and every job."""
    found = yield from connections()
    shortage = rules.shortage(found)
    evidence = {"allowed": found.allowed, "workers": found.workers, "own": found.own, "slots": found.slots}
    if shortage is None:
        return [Finding("workers.connections", "ok", "the server has a connection for every worker and job", evidence)]
    return [Finding("workers.connections", "fail" if found.own > found.allowed else "warn", shortage, evidence)]


CHECKS = (
    Check("workers.heartbeats", "Is every worker that counts as alive heard of?", heartbeats),
    Check("workers.connections", "Has the server connections for all workers and their jobs?", budget),
)
