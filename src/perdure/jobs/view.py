"""A job as people and programs see it: one row of the view ``perdure.jobs``, and one of its attempt log."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

import msgspec

from ..core.op import Row

Place = Literal["ready", "scheduled", "leased", "held", "waiting", "dead", "history"]
Outcome = Literal["completed", "cancelled", "expired", "discarded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job. ``place`` is where it stands; ``outcome`` is set in history, ``reason`` in held and dead.

    ``attempt``: attempts charged, the running one included. ``payload``: the arguments by name. ``result``: what the
    handler returned. ``error``: the last failure's text; a cancelled job's reason. ``context``: what it is part of, by
    the words of ``perdure.Envelope``.
    """

    id: int
    task: str
    queue: str
    key: str | None
    place: Place
    reason: str | None
    outcome: Outcome | None
    priority: int
    attempt: int
    rescues: int
    generation: int
    created_at: datetime
    run_at: datetime | None
    expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    tags: tuple[str, ...]
    options: dict[str, Any]
    error: str | None
    payload: dict[str, Any]
    result: Any
    context: dict[str, Any]

    @classmethod
    def read(cls, row: Row) -> Job:
        """The job of a row of ``perdure.jobs``, its json columns as text: drivers differ in what they make of json."""
        values = {field.name: row[field.name] for field in fields(cls)}
        for name in ("payload", "options", "result", "context"):
            if values[name] is not None:
                values[name] = msgspec.json.decode(values[name])
        values["tags"] = tuple(values["tags"] or ())
        values["options"] = values["options"] or {}
        values["context"] = values["context"] or {}
        return cls(**values)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it unless somebody acts: in history, or dead."""
        return self.place in ("history", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that ended without completing. ``ending``: retry, snooze, dead, held, returned or rescued."""

    ended_at: datetime
    started_at: datetime | None
    worker: int | None
    lease: int | None
    generation: int
    attempt: int
    ending: str
    error: str | None


def gist(error: str | None) -> str | None:
    """What was raised and what was decided: the last lines of a traceback that aren't indented, two at most."""
    lines = error.strip().splitlines() if error else []
    while len(lines) > 1 and lines[-1].startswith(" "):  # a mark below a line of SQL
        lines.pop()
    told = lines[-2:] if len(lines) > 1 and not lines[-2].startswith(" ") else lines[-1:]
    return "; ".join(told) or None
