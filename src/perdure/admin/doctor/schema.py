"""Whether the tables are those of this version."""

from __future__ import annotations

from ...core.op import Op
from ..model import Check, Finding, Subject

NAME = "schema.current"


def current(subject: Subject) -> Op[list[Finding]]:
    """Nothing is pending: ``pre`` migrations are needed, ``post`` ones wait until no old code runs."""
    yield from ()
    pre = [title for phase, title in subject.pending if phase == "pre"]
    post = [title for phase, title in subject.pending if phase == "post"]
    command = "`perdure migrate`" if subject.schema == "perdure" else f"`perdure migrate --schema {subject.schema}`"
    if pre:
        said = f"the schema {subject.schema} lacks {len(pre)} migrations that this version needs: run {command}"
        return [Finding(NAME, "fail", said, {"pending": pre + post})]
    if post:
        said = f"{len(post)} migrations wait until no worker of an older version runs: then run {command}"
        return [Finding(NAME, "warn", said, {"pending": post})]
    return [Finding(NAME, "ok", f"the schema {subject.schema} is up to date", {"pending": []})]


CHECKS = (Check(NAME, "Are the tables those of this version?", current, needs_schema=False),)
