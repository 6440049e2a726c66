"""Which rung of the ladder a system needs, from what it has met: ``perdure doctor --stage``.

Each rung can be taken by itself, in this order. It is needed when its trigger shows in the data; its stop says when to
go no further. What the data can't show is said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..core.op import Op, one
from ..sql import report

LONG_SECONDS = 60.0
OLD_SECONDS = 60.0
STARTS_A_DAY = 20

Facts: TypeAlias = Mapping[str, Any]
FACTS = report("jobs.rungs", dict)


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung. ``seen``: its trigger as the facts show it, None where they don't, or can't."""

    name: str
    trigger: str
    adds: str
    stop: str
    seen: Callable[[Facts], str | None]


def _recovery(facts: Facts) -> str | None:
    if facts["rescued"]:
        return f"{facts['rescued']} jobs have lost their worker"
    return f"{facts['failures']} attempts have failed" if facts["failures"] else None


def _several(facts: Facts) -> str | None:
    if facts["oldest_seconds"] > OLD_SECONDS and facts["workers"]:
        return f"the oldest ready job has waited {facts['oldest_seconds']:.0f} s while {facts['workers']} workers live"
    return f"{facts['workers']} workers live" if facts["workers"] > 1 else None


def _ownership(facts: Facts) -> str | None:
    if facts["workers"] > 1 and facts["keyed"] and facts["started_today"] >= STARTS_A_DAY:
        return f"{facts['started_today']} workers were started within a day, and {facts['keyed']} jobs have a key"
    return None


def _controls(facts: Facts) -> str | None:
    if facts["longest_seconds"] > LONG_SECONDS:
        return f"a handler ran {facts['longest_seconds']:.0f} s"
    if facts["keyed"] >= 100 and facts["hottest"] * 2 > facts["keyed"]:
        return f"one key has {facts['hottest']} of {facts['keyed']} jobs that have one"
    return f"{facts['returned']} jobs went back from workers that were stopped" if facts["returned"] else None


def _unseen(facts: Facts) -> None:
    return None


RUNGS: tuple[Rung, ...] = (
    Rung("durable rows", "work must survive a deploy", "jobs in the caller's transaction, one worker",
         "one worker suffices", lambda facts: "it is in use"),
    Rung("recovery", "a worker can die inside a handler", "leases, rescue, retries, the dead, unique keys",
         "at least once is enough", _recovery),
    Rung("several workers", "one process is too slow", "more workers; they share a queue without waiting",
         "the number of workers is steady", _several),
    Rung("ownership", "deploys and autoscaling move too much work", "buckets of keys, owned by live workers",
         "work rarely moves", _ownership),
    Rung("controls", "long handlers, drains, hot keys", "bounds, checkpoints, fences for outside systems, the runbook",
         "the runbook and the tests exist", _controls),
    Rung("boundaries", "work leaves this database", "events, outbox, webhooks, inbox",
         "the lag is measured", _unseen),
    Rung("workflows", "one process has several durable steps", "recorded steps, sleeps, signals, cancellation",
         "orchestration would become a platform", _unseen),
)  # fmt: skip


def stage() -> Op[list[dict[str, Any]]]:
    """Every rung, what was seen of its trigger, and whether it is needed: those up to the highest one that shows."""
    facts = yield from one(FACTS)
    seen = [rung.seen(facts) for rung in RUNGS]
    highest = max(number for number, each in enumerate(seen) if each is not None)
    return [
        {"rung": number + 1, "name": rung.name, "needed": number <= highest, "seen": seen[number],
         "trigger": rung.trigger, "adds": rung.adds, "stop": rung.stop}
        for number, rung in enumerate(RUNGS)
    ]  # fmt: skip
