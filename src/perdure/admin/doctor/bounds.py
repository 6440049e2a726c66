"""Whether each queue says what it may hold, and whether those that work on it keep up."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.op import Op, rows
from ...jobs.ops.queues import list_queues
from ...sql import report
from ..model import Check, Finding, Subject


@dataclass(frozen=True, slots=True)
class Bound:
    """A queue, and whether somebody has said what it may hold."""

    queue: str
    bounded: bool
    unlimited: bool


BOUNDS = report("queues.bounds", lambda row: Bound(row["queue"], row["when_full"] is not None, row["unlimited"]))


def declared(subject: Subject) -> Op[list[Finding]]:
    """Every queue has a bound, or somebody has said that it has none; those are named all the same."""
    found = yield from rows(BOUNDS)
    free = [each.queue for each in found if each.unlimited]
    silent = [each.queue for each in found if not each.bounded and not each.unlimited]
    evidence = {"undeclared": silent, "unlimited": free}
    meant = f"; unlimited on purpose: {', '.join(free)}" if free else ""
    if not silent:
        return [Finding("deploy.bounds", "ok", f"every queue says what it may hold{meant}", evidence)]
    said = f'nothing bounds {", ".join(silent)}: say app.queue({silent[0]!r}, max_depth=…), or "unlimited"{meant}'
    return [Finding("deploy.bounds", "warn", said, evidence)]


def kept_up(subject: Subject) -> Op[list[Finding]]:
    """No queue grows faster than it is worked off, or lets a job wait for longer than it should, and none is full."""
    found = yield from list_queues()
    behind = [queue for queue in found if queue.state in ("in_debt", "full")]
    evidence = {
        queue.name: {
            "state": queue.state,
            "ready": queue.ready,
            "line": queue.line,
            "oldest_seconds": queue.oldest_seconds,
            "arrived_per_second": queue.arrived_per_second,
            "ended_per_second": queue.ended_per_second,
            "drain_seconds": queue.drain_seconds,
        }
        for queue in behind or found
    }
    if not behind:
        return [Finding("queues.debt", "ok", "no queue is full, or falls behind", evidence)]
    names = ", ".join(f"{queue.name} ({queue.state.replace('_', ' ')}, {queue.ready} ready)" for queue in behind)
    said = f"more comes than is worked off: {names}; add slots or workers, make handlers faster, or take in less"
    return [Finding("queues.debt", "warn", said, evidence)]


CHECKS = (Check("queues.debt", "Does each queue keep up with what comes?", kept_up),)
DEPLOY = (Check("deploy.bounds", "Does each queue say what it may hold?", declared),)
