"""What is done to many dead jobs at once: chosen by a filter, a batch at a time in ascending id, and noted in the book.

Each batch is a transaction of its own, or all are in the caller's; the book counts what was really done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ...core import limits
from ...core.op import Op, one, rows
from ...sql import statement
from ..letters import Act, Chosen, Entry
from .control import discard_some, redrive_some


@dataclass(frozen=True, slots=True)
class Count:
    """How many dead jobs a filter chooses, ``runs`` of workflows among them, of how many; ``clock`` is the server's."""

    chosen: int
    runs: int
    of: int
    clock: datetime

    def left(self, act: Act) -> int:
        """How many of them the act leaves alone: a run that is only redriven ends as it has."""
        return self.runs if act == "redrive" else 0


COUNT = statement("jobs.count_dead", lambda row: Count(row["chosen"], row["runs"], row["of"], row["clock"]))
DEAD = statement("jobs.dead_letters", lambda row: int(row["id"]))
NOTE = statement("jobs.note_act", lambda row: int(row["id"]))
ACTS = statement("jobs.acts", Entry.read)


@dataclass(slots=True)
class Doing:
    """An act under way: what is to be done to whom, and how far it has come. ``rate``: jobs a second.
    ``runs``: of workflows, which a redrive leaves alone."""

    act: Act
    chosen: Chosen
    by: str
    until: datetime
    reason: str | None = None
    rate: float | None = None
    runs: int = 0
    after: int = 0
    jobs: int = 0
    entry: int | None = None


def count(chosen: Chosen) -> Op[Count]:
    """How many there are."""
    return (yield from one(COUNT, **_params(chosen)))


def batch(doing: Doing, limit: int = limits.CHORE_BATCH_MAX) -> Op[bool]:
    """Do it to the next ones; whether there may be more. Those that aren't dead any more are left alone."""
    params = {**_params(doing.chosen), "before": doing.chosen.died_before or doing.until}
    ids = yield from rows(DEAD, **params, after=doing.after, limit=limit)
    if ids:
        done = yield from _acted(doing, ids)
        doing.after, doing.jobs = ids[-1], doing.jobs + len(done)
        doing.entry = yield from one(
            NOTE,
            id=doing.entry,
            by=doing.by,
            act=doing.act,
            filter=doing.chosen.text,
            reason=doing.reason,
            jobs=len(done),
            first=ids[0],
            last=ids[-1],
        )
    return len(ids) == limit


def acts(limit: int) -> Op[list[Entry]]:
    """The book, the latest act first."""
    return (yield from rows(ACTS, limit=limit))


def _acted(doing: Doing, ids: Sequence[int]) -> Op[list[int]]:
    if doing.act == "discard":
        return (yield from discard_some(ids, doing.reason))
    return (yield from redrive_some(ids, by=doing.by, rate=doing.rate, before=doing.jobs))


def _params(chosen: Chosen) -> dict[str, object]:
    said = {option: getattr(chosen, option) for option in ("queue", "task", "tag", "error")}
    return {**said, "reason": chosen.died_of, "since": chosen.died_after, "before": chosen.died_before}
