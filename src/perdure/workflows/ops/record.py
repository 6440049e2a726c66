"""Load and record: what the driver of a run reads and writes, for many runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...core.errors import OwnershipLost
from ...core.op import Op, Row, alike, rows, thin
from ...core.run_errors import WorkflowNotFound
from ...sql import statement, together
from ..model import Child, Entry, History, Message, Recorded, Step
from .after import UNNUDGE

_STEPS = msgspec.json.Decoder(list[Step])
_MESSAGES = msgspec.json.Decoder(list[Message])
_CHILDREN = msgspec.json.Decoder(list[Child])

BEGINNING = "#0"
"""What is recorded of a run's beginning, or its round's: when that was, and what it said of itself then. Once it says
something else, or is in another round, a replay couldn't know."""

ALIKE = ("generations", "kinds", "states", "attempts")
"""What nearly all entries of one write have alike: most are steps that are done at once."""

WRITTEN = Recorded(None, False)
"""What there is to say of most."""


def _history(row: Row) -> History:
    steps = _STEPS.decode(row["steps"]) if row["steps"] else []
    said = msgspec.json.decode(row["attributes"]) if row["attributes"] else {}
    began = next((step for step in steps if step.name == BEGINNING), None) if steps and steps[0].seq == 0 else None
    children = _CHILDREN.decode(row["children"]) if row["children"] else []
    return History(
        row["job"],
        row["id"],
        row["round"],
        row["now"],
        row["skew"],
        row["created_at"] if began is None or began.ended_at is None else began.ended_at,
        said if began is None else msgspec.json.decode(began.outcome) or {},
        steps,
        _MESSAGES.decode(row["messages"]) if row["messages"] else [],
        {child.job: child for child in children},
        row["deadline_at"],
        row["paused"],
        row["cancel"],
        said=said,
        dice=_dice(began),
    )


def _dice(began: Step | None) -> list[tuple[str, int]]:
    """Whose dice a fork has, up to which number: those of what it was forked from, first of what that was."""
    marks = [] if began is None or began.detail is None else began.detail.split()
    return [(seed, int(last)) for seed, _, last in (mark.partition("@") for mark in marks)]


def _told(row: Row) -> tuple[int, Recorded | None]:
    """Where it stands among the entries, and what is told of it: None when it was stale."""
    return row["place"], Recorded(row["due_at"], row["asked"]) if row["fenced"] else None


READ = statement("workflows.read", _history)
"""For who only looks, and may write nothing."""
LOAD = together("workflows.load", UNNUDGE, READ)
"""For who drives the runs further: they look up, so it is forgotten that somebody wanted them to."""
RECORD = statement("workflows.record", _told)
TAKE = statement("workflows.take", lambda row: row)


def load(jobs: Sequence[int], *, activates: bool = True) -> Op[list[History | Exception]]:
    """The runs of these jobs, in order, as they are replayed. ``activates``: they go on, too, and look up."""
    loaded = yield from rows(LOAD if activates else READ, runs=list(jobs))
    found = {history.job: history for history in loaded}
    return [found.get(job) or _missing(job) for job in jobs]


def record(entries: Sequence[Entry]) -> Op[list[Recorded | Exception]]:
    """Write the entries; those whose run is somebody else's now are refused, each for itself. In one transaction when
    one of them takes a message."""
    sent = columns(entries)
    told = dict((yield from rows(RECORD, **(sent | {name: alike(sent[name]) for name in ALIKE}))))
    written = [told.get(place, WRITTEN) for place in range(1, len(entries) + 1)]
    taking = [entry for entry, fenced in zip(entries, written, strict=True) if entry.taken is not None and fenced]
    if taking:
        ids, runs, names = zip(*((entry.taken, entry.run, entry.name) for entry in taking), strict=True)
        yield from rows(TAKE, ids=list(ids), runs=list(runs), names=list(names))
    return [fenced or _stale(entry) for entry, fenced in zip(entries, written, strict=True)]


def columns(entries: Sequence[Entry]) -> dict[str, list[Any]]:
    """The entries by column; an empty one for what none of them has."""
    return {
        "runs": [entry.run for entry in entries],
        "generations": [entry.generation for entry in entries],
        "names": [entry.name for entry in entries],
        "seqs": [entry.seq for entry in entries],
        "kinds": [entry.kind for entry in entries],
        "states": [entry.state for entry in entries],
        "attempts": [entry.attempt for entry in entries],
        "started": thin([entry.started_at for entry in entries]),
        "ended": [entry.ended_at for entry in entries],
        "delays": thin([entry.delay for entry in entries]),
        "dues": thin([entry.due_at for entry in entries]),
        "details": thin([entry.detail for entry in entries]),
        "outcomes": thin([entry.outcome for entry in entries]),
    }


def _missing(job: int) -> WorkflowNotFound:
    return WorkflowNotFound(
        "is a workflow's and no run: it was enqueued", field=f"job {job}", fix="start a run with client.workflows.start"
    )


def _stale(entry: Entry) -> OwnershipLost:
    return OwnershipLost(
        f"is no longer generation {entry.generation}: it runs elsewhere", job_id=entry.run, field=f"job {entry.run}"
    )
