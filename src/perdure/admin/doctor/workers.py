"""Whether the workers live, and may all have their connections."""

from __future__ import annotations

from ...core.op import Op, rows
from ...fleet import rules
from ...fleet.ops.workers import connections
from ...sql import report
from ..model import Check, Finding, Subject

STALE_WARN_SECONDS = 5.0
"""Past its beat a worker is declared dead by the next look of any other, which comes within a second."""

LOST = report("workers.lost", lambda row: dict(row))
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


def lost_slots(subject: Subject) -> Op[list[Finding]]:
    """No slot is lost to a handler that goes on after its job has ended."""
    found = yield from rows(LOST)
    name, count = "workers.lost_slots", sum(each["lost"] for each in found)
    if not found:
        return [Finding(name, "ok", "no handler goes on after its job has ended", {"lost": 0})]
    where = "; ".join(
        f"{each['queue']}: {each['lost']} of {each['slots']} in worker {each['id']}" for each in found[:5]
    )
    said = (
        f"{count} slots are lost to handlers that go on after their jobs have ended ({where}): let threads ask "
        "ctx.cancelled, or bound what they wait for, and coroutines not swallow CancelledError; a restart of the "
        "worker frees them"
    )
    whole = any(each["lost"] >= each["slots"] for each in found)
    return [Finding(name, "fail" if whole else "warn", said, {"lost": count, "queues": found[:20]})]


CHECKS = (
    Check("workers.heartbeats", "Is every worker that counts as alive heard of?", heartbeats),
    Check("workers.lost_slots", "Does every handler end with its job?", lost_slots),
    Check("workers.connections", "Has the server connections for all workers and their jobs?", budget),
)
