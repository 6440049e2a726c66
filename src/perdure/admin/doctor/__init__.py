"""The doctor: checks that read a running system and say what is wrong with it, with figures and the next step.

A check is a file of this package, or a few of one topic, and a line in CHECKS. Its thresholds stand beside it. It asks
reports (``sql/reports``), so that whoever doubts a finding can run the question in psql.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ...core.errors import ConnectionLost, DatabaseError
from ...core.op import Op, one
from ...sql import statement
from ..model import Check, Finding, Subject
from . import (
    background,
    bounds,
    chains,
    deploy,
    history,
    horizon,
    locking,
    machines,
    places,
    pooler,
    queues,
    runs,
    schema,
    workers,
)

R = TypeVar("R")

BOUND = statement("admin.bound_check", lambda row: row)

CHECKS: tuple[Check, ...] = (
    *schema.CHECKS,
    *places.CHECKS,
    *queues.CHECKS,
    *bounds.CHECKS,
    *workers.CHECKS,
    *background.CHECKS,
    *chains.CHECKS,
    *machines.CHECKS,
    *runs.CHECKS,
    *history.CHECKS,
    *horizon.CHECKS,
    *locking.CHECKS,
    *pooler.CHECKS,
)
"""In the order in which they are asked and shown."""

DEPLOY: tuple[Check, ...] = (*deploy.CHECKS, *bounds.DEPLOY, *locking.DEPLOY)
"""What else matters before real work depends on it."""


def examine(
    subject: Subject, ask: Callable[[Op[list[Finding]]], list[Finding]], checks: Sequence[Check] = CHECKS
) -> Iterator[Finding]:
    """What the checks find, in their order. ``ask`` drives an op in a transaction of its own and rolls back an error.

    Raises ConnectionLost; any other error of the database is what its own check could not find out.
    """
    behind = any(phase == "pre" for phase, _ in subject.pending)
    for check in checks:
        if behind and check.needs_schema:
            yield Finding(check.name, "skipped", "the schema lacks migrations of this version: see schema.current")
            continue
        try:
            yield from ask(_bounded(check, subject))
        except ConnectionLost:
            raise
        except DatabaseError as error:
            said = f"couldn't be looked at: {error.message}"
            yield Finding(check.name, "skipped", said, {"sqlstate": error.sqlstate})


def _bounded(check: Check, subject: Subject) -> Op[list[Finding]]:
    yield from one(BOUND, statement_timeout=f"{round(check.seconds * 1000)}ms")
    return (yield from check.examine(subject))
