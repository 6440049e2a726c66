"""How long anybody waits for a lock: the server's settings, and the bounds of each class of connection."""

from __future__ import annotations

from typing import Any

from ...core.op import Op, one
from ...pg.connect import BOUNDS
from ...sql import report
from ..model import Check, Finding, Subject

DEADLOCK_MS_MIN, DEADLOCK_MS_MAX = 500, 10_000

LOCKING = report("server.locking", lambda row: dict(row))


def deadlock_timeout(subject: Subject) -> Op[list[Finding]]:
    """The search for deadlocks starts neither at every brief wait nor long after everybody has noticed."""
    name = "pg.deadlock_timeout"
    found: dict[str, Any] = yield from one(LOCKING)
    evidence = {each: found[each] for each in ("deadlock_ms", "deadlocks", "since")}
    after = found["deadlock_ms"]
    if after < DEADLOCK_MS_MIN:
        said = f"deadlock_timeout is {after} ms: the costly search for deadlocks runs at every brief wait; set it to 1s"
        return [Finding(name, "warn", said, evidence)]
    if after > DEADLOCK_MS_MAX:
        said = f"deadlock_timeout is {after} ms: a deadlock holds everybody up for as long; set it to 1s"
        return [Finding(name, "warn", said, evidence)]
    said = f"deadlocks are looked for after {after} ms; {found['deadlocks']} were found in this database so far"
    return [Finding(name, "ok", said, evidence)]


def timeout_order(subject: Subject) -> Op[list[Finding]]:
    """Waiting for a lock is given up before the statement is, in every class of connection."""
    name = "pg.timeout_order"
    found: dict[str, Any] = yield from one(LOCKING)
    after = found["deadlock_ms"]
    bounds = {str(name): {"lock_ms": of.lock_ms, "statement_ms": of.statement_ms} for name, of in BOUNDS.items()}
    # What the URL or the role says wins over the class.
    session = {"this session": {"lock_ms": found["lock_ms"], "statement_ms": found["statement_ms"]}}
    evidence = {"deadlock_ms": after, "bounds": bounds, **session}
    late = [each for each, of in (bounds | session).items() if 0 < of["statement_ms"] <= of["lock_ms"]]
    if late:
        said = f"connections for {', '.join(late)} wait for a lock as long as their statements may run at all"
        return [Finding(name, "fail", f"{said}: lower lock_timeout there", evidence)]
    early = [each for each, of in bounds.items() if of["lock_ms"] < after]
    said = "every class of connection gives up a lock before its statement"
    if early:
        said += f"; for {', '.join(early)} before deadlock_timeout, too, so a deadlock of theirs shows as 55P03"
    return [Finding(name, "ok", said, evidence)]


def lock_waits(subject: Subject) -> Op[list[Finding]]:
    """Long waits for locks are in the server's log."""
    name = "pg.log_lock_waits"
    found: dict[str, Any] = yield from one(LOCKING)
    evidence = {"log_lock_waits": found["log_lock_waits"]}
    if found["log_lock_waits"] == "on":
        return [Finding(name, "ok", "long waits for locks are logged, with who was waited for", evidence)]
    said = "log_lock_waits is off: after an incident nobody can say who held the lock; switch it on"
    return [Finding(name, "warn", said, evidence)]


CHECKS = (
    Check("pg.deadlock_timeout", "Are deadlocks looked for in good time?", deadlock_timeout, needs_schema=False),
    Check("pg.timeout_order", "Do waits for locks end before statements?", timeout_order, needs_schema=False),
)
DEPLOY = (Check("pg.log_lock_waits", "Are long waits for locks logged?", lock_waits, needs_schema=False),)
