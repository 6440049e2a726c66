"""Whether entities of state machines stand where they shouldn't stand for long."""

from __future__ import annotations

from ...core.op import Op, rows
from ...sql import report
from ..model import Check, Finding, Subject

NAME = "machines.stuck"
STUCK = report("machines.stuck", lambda row: dict(row))
SHOWN_MAX = 20


def stuck(subject: Subject) -> Op[list[Finding]]:
    """No entity has stood in its state for longer than its machine says."""
    found = yield from rows(STUCK)
    if not found:
        return [Finding(NAME, "ok", "no entity is stuck in a state", {"stuck": 0})]
    states = sorted({f"{each['machine']} in {each['state']}" for each in found})
    said = (
        f"{len(found)} entities are stuck ({', '.join(states[:5])}). `perdure machines stuck` lists them, "
        "`perdure machines get` shows how one came there"
    )
    return [Finding(NAME, "warn", said, {"stuck": len(found), "entities": found[:SHOWN_MAX]})]


CHECKS = (Check(NAME, "Has any entity of a state machine stood in its state for too long?", stuck),)
