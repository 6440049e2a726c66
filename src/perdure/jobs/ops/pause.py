"""Pause and resume one job. Whether it is paused stands in a row of its own, whatever place the job is in; a sweep
makes the places follow, so that neither a worker that stops late nor a rescue can lose the wish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core import limits
from ...core.op import Op, maybe, rows
from ...sql import statement
from .control import UNSEAT, get

PauseAnswer = Literal["paused", "requested", "finished", "dead", "run", "missing"]
ResumeAnswer = Literal["resumed", "running", "missing"]


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause for which there is something to do."""

    id: int
    resumed: bool
    ended: bool


ASK = statement("jobs.ask_pause", lambda row: int(row["id"]))
SET_ASIDE = statement("jobs.set_aside", lambda row: int(row["id"]))
ASK_RESUME = statement("jobs.ask_resume", lambda row: int(row["id"]))
RESUME = statement("jobs.resume", lambda row: int(row["id"]))
PAUSES = statement("jobs.pauses", lambda row: Pause(**row))
FORGET = statement("jobs.forget_pauses", lambda row: int(row["id"]))


def pause(id: int) -> Op[PauseAnswer]:
    """Let a job run no further until it is resumed: one that waits for its turn is set aside ("paused"), the worker of
    one that runs is asked to stop it ("requested"). Nothing is done about what has ended, is dead, or is a workflow's
    run.
    """
    job = yield from get(id)
    if job is None:
        return "missing"
    if job.finished:
        return "dead" if job.place == "dead" else "finished"
    if (yield from maybe(ASK, id=id)) is None:
        return "run"
    if job.place == "leased":
        return "requested"
    yield from _set_aside(id)
    now = yield from get(id)
    return "paused" if now is not None and now.place == "held" else "requested"


def resume(id: int) -> Op[ResumeAnswer]:
    """Let a paused job go on, where it was: "resumed"; "running" when it hasn't stopped yet, and will go on all the
    same. "missing": it isn't paused."""
    if (yield from maybe(ASK_RESUME, id=id)) is None:
        return "missing"
    resumed = yield from maybe(RESUME, id=id)
    yield from rows(FORGET, ids=[id])
    return "running" if resumed is None else "resumed"


def sweep_pauses(limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Set aside what is paused and waits for its turn, let go on what was resumed, forget what has ended; how many."""
    found = yield from rows(PAUSES, limit=limit)
    for each in found:
        if each.resumed:
            yield from maybe(RESUME, id=each.id)
        elif not each.ended:
            yield from _set_aside(each.id)
    yield from rows(FORGET, ids=[each.id for each in found])
    return len(found)


def _set_aside(id: int) -> Op[None]:
    if (yield from maybe(UNSEAT, id=id)) is not None:
        yield from maybe(SET_ASIDE, id=id)
