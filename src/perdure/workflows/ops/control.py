"""What a person or a program does to one run: pause, retry, skip, rewind; what it has recorded, and says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ...core import codec, limits
from ...core.op import Op, Row, maybe, one, rows
from ...jobs.ops.control import discard_some, redrive
from ...jobs.ops.wake import wake
from ...sql import statement
from ..check import Plan
from ..model import Moment
from .after import nudge, unpark
from .start import BEQUEATH


def _json(text: Any) -> Any:
    return msgspec.json.decode(text) if isinstance(text, str) else text


def _moment(row: Row) -> Moment:
    return Moment(**{**row, "outcome": _json(row["outcome"])})


class Letter(msgspec.Struct, kw_only=True, frozen=True):
    """A message that was sent to a run. ``taken``: by which step. ``refusal``: why an update wasn't accepted."""

    name: str
    sent_at: datetime
    taken: str | None
    taken_at: datetime | None
    update: bool
    refusal: str | None
    payload: Any


class _Child(msgspec.Struct, frozen=True):
    """A child that is over without having completed. ``reason``: why it is dead; None when it is filed as cancelled."""

    job: int
    reason: str | None
    failed_step: str | None


UNDONE = ("compensated", "deadline")
"""Why runs are dead that can't go on, because what they had done was undone."""


class Stuck(msgspec.Struct, kw_only=True, frozen=True):
    """A run that nothing will ever move, by a fault of Perdure's own, or because a server was lost that knew what it
    waits for; and why. None that waits for a person."""

    id: str
    job: int
    problem: str


TIMELINE = statement("workflows.timeline", _moment)
INBOX = statement("workflows.inbox", lambda row: Letter(**{**row, "payload": _json(row["payload"])}))
NOTE = statement("workflows.note", lambda row: row)
PAUSE = statement("workflows.pause", lambda row: int(row["job"]))
RESUME = statement("workflows.resume", lambda row: int(row["job"]))
REOPEN = statement("workflows.reopen", lambda row: int(row["job"]))
FORGET = statement("workflows.forget", lambda row: (str(row["name"]), row["child"]))
CHILDREN = statement("workflows.children", lambda row: _Child(int(row["job"]), row["reason"], row["failed_step"]))
DISOWN = statement("workflows.disown", lambda row: row)
HURRY = statement("workflows.hurry", lambda row: str(row["name"]))
SKIP = statement("workflows.skip", lambda row: str(row["name"]))
FREEZE = statement("workflows.freeze", lambda row: str(row["place"]))
VERSIONS = statement("workflows.versions", lambda row: (str(row["name"]), int(row["version"]), int(row["runs"])))
STUCK = statement("workflows.stuck", lambda row: Stuck(**row))
SKIP_TIME = statement("workflows.skip_time", lambda row: int(row["runs"]))
LIVE = statement("workflows.live", lambda row: Plan(**row))
PRUNE = statement("workflows.prune", lambda row: int(row["pruned"]))


def timeline(job: int) -> Op[list[Moment]]:
    """What a run has recorded, in order."""
    return (yield from rows(TIMELINE, run=job))


def inbox(job: int) -> Op[list[Letter]]:
    """What was sent to a run, in order."""
    return (yield from rows(INBOX, run=job))


def note(job: int, generation: int, attributes: Mapping[str, Any]) -> Op[None]:
    """What a run says of itself."""
    yield from rows(NOTE, run=job, generation=generation, attributes=codec.encode(attributes))


def pause(job: int) -> Op[None]:
    """Let a run go no further than its next step. One that waits goes on waiting."""
    yield from maybe(PAUSE, run=job)
    yield from nudge([job])


def resume(job: int) -> Op[None]:
    """Let a run go on that was paused, or parked, or is just being parked."""
    yield from maybe(RESUME, run=job)
    yield from unpark(job)
    yield from nudge([job])


def place(job: int) -> Op[str | None]:
    """Where a run stands, its job locked so that it stays there; None when it has ended."""
    return (yield from maybe(FREEZE, run=job))


def retry(job: int, at: str, step: str | None) -> Op[None]:
    """Let a run go on that stands ``at`` dead or held: what failed from the step on is forgotten, and done again; a
    child that failed goes on from where it failed, too."""
    if step is not None:
        forgotten = yield from rows(FORGET, run=job, step=step, failed=True)
        yield from _revive(job, [child for _, child in forgotten if child is not None])
    yield from again(job, at)


def hurry(job: int) -> Op[bool]:
    """Let a run that waits try again now what it is to try again later. False: there is nothing of the kind."""
    hurried = yield from rows(HURRY, run=job)
    if hurried:
        yield from again(job, "waiting")
    return bool(hurried)


def _revive(parent: int, children: Sequence[int]) -> Op[None]:
    """Let children that failed go on; the ids of those that can't are free again, and the parent starts them anew."""
    found = (yield from rows(CHILDREN, parent=parent, ids=sorted(children))) if children else []
    for child in found:
        if child.reason is None or child.reason in UNDONE:
            yield from rows(BEQUEATH, run=child.job)
            yield from discard_some([child.job], "its parent has started it anew")
        elif (yield from place(child.job)) == "dead":
            yield from retry(child.job, "dead", child.failed_step)


def rewind(job: int, at: str, step: str) -> Op[list[str]]:
    """Forget what a run has recorded from the step on, and let it go on from there; what was forgotten. Children that
    have ended are started anew."""
    forgotten = yield from rows(FORGET, run=job, step=step, failed=False)
    children = [child for _, child in forgotten if child is not None]
    yield from _revive(job, children)
    if children:
        yield from rows(DISOWN, ids=sorted(children), parent=job)
    yield from again(job, at)
    return [name for name, _ in forgotten]


def skip(job: int, at: str, step: str, outcome: str | None, remark: str | None) -> Op[bool]:
    """Say that a step is done, and let the run go on. False: there is no such step to skip."""
    if (yield from maybe(SKIP, run=job, step=step, outcome=outcome, note=remark)) is None:
        return False
    yield from again(job, at)
    return True


def again(job: int, at: str) -> Op[None]:
    """Let a run go on, wherever it stands."""
    yield from maybe(REOPEN, run=job)
    if at == "dead":
        yield from redrive(job, runs=True)
    elif at == "held":
        yield from unpark(job)
    elif at == "waiting":
        yield from wake([job])


def versions() -> Op[list[tuple[str, int, int]]]:
    """Workflow, version, and how many runs of it live."""
    return (yield from rows(VERSIONS))


def live(after: int, limit: int, name: str | None = None) -> Op[list[Plan]]:
    """Runs that live, of one workflow or of all, from a job on."""
    return (yield from rows(LIVE, after=after, limit=limit, name=name))


def skip_time(seconds: float, id: str | None) -> Op[int]:
    """Let time pass for the run of this id, or for all that live; how many."""
    return (yield from one(SKIP_TIME, seconds=seconds, id=id))


def stuck(limit: int = limits.CHORE_BATCH_MAX) -> Op[list[Stuck]]:
    """Live runs that nothing will ever move."""
    return (yield from rows(STUCK, limit=limit))


def prune(days: int, limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Forget runs that ended more than so many days ago; how many."""
    return (yield from one(PRUNE, days=days, limit=limit))
