"""Whether a pooler stands between us and the server, and what that takes away."""

from __future__ import annotations

from ...core.op import Op
from ..model import Check, Finding, Subject

NAME = "pg.pooler"


def between(subject: Subject) -> Op[list[Finding]]:
    """Through a pooler in transaction mode everything works but LISTEN and migrations, which need a direct URL."""
    yield from ()
    evidence = {"pooled": subject.pooled, "direct_url": subject.direct}
    if not subject.pooled:
        return [Finding(NAME, "ok", "the URL leads to the server itself", evidence)]
    if subject.direct:
        said = "the URL leads to a pooler; heartbeats, listeners and migrations use PERDURE_DIRECT_URL"
        return [Finding(NAME, "ok", said, evidence)]
    said = (
        "the URL leads to a pooler: workers only poll, about once a second, and migrations are refused; set "
        "PERDURE_DIRECT_URL to the URL of the server itself"
    )
    return [Finding(NAME, "warn", said, evidence)]


CHECKS = (Check(NAME, "Does a pooler stand before the server?", between, needs_schema=False),)
