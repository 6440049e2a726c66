"""What has to be right before real work depends on it: durability, the role, the wire."""

from __future__ import annotations

from typing import Any

from ...core.op import Op, one
from ...sql import report
from ..model import Check, Finding, Subject

SETTINGS = report("server.settings", lambda row: dict(row))


def durability(subject: Subject) -> Op[list[Finding]]:
    """What is committed survives a crash of the server."""
    found: dict[str, Any] = yield from one(SETTINGS)
    evidence = {name: found[name] for name in ("fsync", "full_page_writes", "synchronous_commit")}
    lossy = [name for name in ("fsync", "full_page_writes") if found[name] == "off"]
    if lossy:
        said = f"{' and '.join(lossy)} is off: a crash of the machine can damage the whole database; switch it on"
        return [Finding("deploy.durability", "fail", said, evidence)]
    if found["synchronous_commit"] == "off":
        said = "synchronous_commit is off: a crash loses the last commits, claims and settlements; switch it on"
        return [Finding("deploy.durability", "fail", said, evidence)]
    return [Finding("deploy.durability", "ok", "what is committed survives a crash", evidence)]


def role(subject: Subject) -> Op[list[Finding]]:
    """The role has no more rights than Perdure needs."""
    found = yield from one(SETTINGS)
    evidence = {"role": found["role"], "superuser": found["superuser"]}
    if found["superuser"]:
        said = f"{found['role']} is a superuser: give producers, workers and support roles of their own"
        return [Finding("deploy.role", "warn", said, evidence)]
    return [Finding("deploy.role", "ok", f"{found['role']} is no superuser", evidence)]


def wire(subject: Subject) -> Op[list[Finding]]:
    """What leaves the machine is encrypted."""
    found = yield from one(SETTINGS)
    evidence = {"tls": found["tls"], "local": found["local"]}
    if found["tls"] or found["local"]:
        return [Finding("deploy.wire", "ok", "the connection is encrypted, or never leaves the machine", evidence)]
    said = "the connection to the server isn't encrypted: add sslmode=verify-full to the database URL"
    return [Finding("deploy.wire", "warn", said, evidence)]


CHECKS = (
    Check("deploy.durability", "Does what is committed survive a crash?", durability, needs_schema=False),
    Check("deploy.role", "Has the role no more rights than it needs?", role, needs_schema=False),
    Check("deploy.wire", "Is the connection encrypted?", wire, needs_schema=False),
)
