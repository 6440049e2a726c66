"""Look at runs: one of them, or a page of those in a state, of a workflow, or that say something of themselves.

A page is found first and shown then. Each state has a statement of its own that finds it, because each is read from
where such runs stand: a hundred thousand runs that wait are nothing to whoever asks for the three that have failed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...core.op import Op, Row, rows
from ...sql import statement
from ..model import Run


def _json(text: Any) -> Any:
    return msgspec.json.decode(text) if isinstance(text, str) else text


def _run(row: Row) -> Run:
    values = {**row, "attributes": _json(row["attributes"]) or {}, "input": _json(row["input"]) or {}}
    values["result"] = _json(row["result"])
    return Run(**values, state=state_of(row))


def _job(row: Row) -> int:
    return int(row["job"])


GET = statement("workflows.get", _run)
LIST = statement("workflows.list", _job)
LIST_SAYING = statement("workflows.list_saying", _job)
LIST_RUNNING = statement("workflows.list_running", _job)
LIST_WAITING = statement("workflows.list_waiting", _job)
LIST_PAUSED = statement("workflows.list_paused", _job)
LIST_PARKED = statement("workflows.list_parked", _job)
LIST_COMPLETED = statement("workflows.list_completed", _job)
LIST_BROKEN = statement("workflows.list_broken", _job)

STANDING = {
    "running": LIST_RUNNING,
    "waiting": LIST_WAITING,
    "paused": LIST_PAUSED,
    "parked": LIST_PARKED,
    "completed": LIST_COMPLETED,
}
"""What finds the runs in a state. The others are of those that have ended otherwise than by completing."""

BROKEN = ("failed", "deadline", "compensated", "compensation_failed", "cancelled", "discarded")
STATES = (*STANDING, *BROKEN)

NAMED_REASONS = frozenset(BROKEN) - {"failed"}
"""Why runs are dead that have a state of their own; any other reason is one why they have failed."""


def state_of(row: Row) -> str:
    """Place, reason and outcome in one word. "lost": it lives and its job doesn't; "forgotten": what came of it isn't
    kept any more."""
    place = row["place"]
    if place is None:
        return "lost" if row["ended_at"] is None else "forgotten"
    if place == "history":
        return str(row["outcome"])
    if place == "dead":
        return str(row["reason"]) if row["reason"] in NAMED_REASONS else "failed"
    if row["paused_at"] is not None:
        return "paused"
    return {"waiting": "waiting", "held": "parked"}.get(place, "running")


def get(id: str) -> Op[Run | None]:
    """One run."""
    found = yield from rows(GET, id=id, jobs=[])
    return found[0] if found else None


def page(
    *,
    limit: int,
    name: str | None = None,
    state: str | None = None,
    attributes: str | None = None,
    cursor: int | None = None,
) -> Op[tuple[list[Run], int | None]]:
    """So many runs, newest first, below the cursor; and the cursor of the page after, None when there is none.
    ``attributes``: what they say of themselves, encoded.

    A run that has left the state while it was looked at is left out.
    """
    asked: dict[str, Any] = {"name": name, "cursor": cursor, "limit": limit + 1}  # one more tells whether there is more
    if attributes is not None or state is not None:
        asked["attributes"] = attributes
    if state in BROKEN:
        jobs = yield from rows(LIST_BROKEN, state=state, **asked)
    elif state is not None:
        jobs = yield from rows(STANDING[state], **asked)
    else:
        jobs = yield from rows(LIST if attributes is None else LIST_SAYING, **asked)
    shown = jobs[:limit]
    runs = (yield from rows(GET, id=None, jobs=shown)) if shown else []
    return [run for run in runs if state in (None, run.state)], shown[-1] if len(jobs) > limit else None
