"""Start: a run and its job, in one statement; what happens when there is a run of that id already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from ...core import context
from ...core.errors import LockTimeout, StatementRefused
from ...core.lock_waits import tell
from ...core.op import Op, Statement, maybe, one, rows
from ...core.run_errors import WorkflowExists
from ...jobs import encode
from ...jobs.model import JobSpec
from ...jobs.ops.admission import admit
from ...jobs.ops.control import cancel
from ...jobs.ops.queues import ensure
from ...jobs.ops.whole import whole
from ...sql import statement
from ..model import Close, Conflict, Entry, RunSpec, Started
from .record import record

START: Statement[tuple[str, Any, bool]] = statement(
    "workflows.start", lambda row: (str(row["id"]), row["job"], bool(row["new"]))
)
START_ADMITTED: Statement[tuple[str, Any, bool]] = statement(
    "workflows.start_admitted", lambda row: (str(row["id"]), row["job"], bool(row["new"]))
)
FIND = statement("workflows.find", lambda row: Found(**row))
SUPERSEDE = statement("workflows.supersede", lambda row: int(row["job"]))
ORIGIN = statement("workflows.origin", lambda row: dict(row))
KIN = statement("workflows.kin", lambda row: Kin(**row))
BEQUEATH = statement("workflows.bequeath", lambda row: int(row["job"]))
FORK = statement("workflows.fork", lambda row: row)


class Found(msgspec.Struct, frozen=True):
    """A run that there is: its job, of which workflow it is, and whether it has other arguments than were given."""

    id: str
    job: int
    name: str
    differs: bool

    def joined(self) -> Started:
        """What whoever wanted to start it is told."""
        return Started(self.id, self.job, False, self.differs)


class Kin(msgspec.Struct, frozen=True):
    """A run that another one would have as its child: its workflow, and whose it is."""

    name: str
    lives: bool
    kin: Literal["recorded", "own", "replaced", "other"]


def start(
    spec: RunSpec,
    ids: Sequence[str],
    payloads: Sequence[str],
    *,
    conflict: Conflict = "join",
    deadline: datetime | timedelta | None = None,
    attributes: str | None = None,
    parent: int | None = None,
    close: Close | None = None,
) -> Op[list[Started]]:
    """Start a run for each id, with the arguments at its place; the spec says everything else. In one transaction.
    ``attributes``: what each of them says of itself, encoded.

    Raises WorkflowExists when the conflict isn't to be joined or replaced, or can't be: a run of another workflow; and
    QueueSaturated or ContextMissing, as an enqueue does. Nothing is written then.
    """
    started = _start(spec, ids, payloads, conflict, deadline, attributes, parent, close)
    several = conflict == "replace" or len(ids) > 1
    try:
        return (yield from (whole(started) if several else started))
    except LockTimeout as error:
        named = repr(ids[0]) if len(ids) == 1 else f"one of {len(ids)} ids"
        tell(error, "run", f"{named} is being written", field="id", fix="start it in that: tx.workflows.start(…)")
        raise


def _start(
    spec: RunSpec,
    ids: Sequence[str],
    payloads: Sequence[str],
    conflict: Conflict,
    deadline: datetime | timedelta | None,
    attributes: str | None,
    parent: int | None,
    close: Close | None,
) -> Op[list[Started]]:
    if conflict == "replace":
        for id in sorted(ids):
            yield from _replaced(id)
    params = _params(spec, ids, payloads, deadline, attributes, parent, close)
    found = yield from rows(START, **params)
    if not found:
        found = yield from _admitted(spec, ids, params)
    there = {place: id for place, (id, _, new) in enumerate(found) if not new}
    known = yield from find(list(there.values()), [payloads[place] for place in there])
    if conflict == "reject" and known:
        id = min(known)
        raise WorkflowExists(
            "there is a run of this id" + (", and it was started with other arguments" if known[id].differs else ""),
            id=id, field=id, fix='give another id, or on_conflict="join" or "replace"',
        )  # fmt: skip
    for other in known.values():
        if other.name != spec.name and parent is None:  # a parent looks whose it is first
            raise WorkflowExists(
                f"there is a run of this id, and it is one of {other.name}",
                id=other.id, field=other.id, fix="give another id",
            )  # fmt: skip
    return [Started(id, job, True) if new else known[id].joined() for id, job, new in found]


def _admitted(spec: RunSpec, ids: Sequence[str], params: Mapping[str, Any]) -> Op[list[tuple[str, Any, bool]]]:
    """The same in a queue that is guarded, or has no row yet: it is asked for room, for the runs that aren't there.
    What it delays, or lets wait in line, is a run's first activation; a run that has begun is never asked again."""
    known = yield from find(ids)
    said = JobSpec(task=spec.task, payload="{}", queue=spec.queue, priority=spec.priority, context=context.captured())
    asking = [id for id in ids if id not in known]
    late: Mapping[int, datetime | timedelta] = {}
    if asking:
        late = yield from admit([said] * len(asking))
    else:
        yield from ensure([spec.queue])
    due = {asking[place]: when for place, when in late.items()}
    dues = [due.get(id) for id in ids]
    found = yield from rows(
        START_ADMITTED,
        **params,
        run_ats=[encode.moment(when) for when in dues],
        delays=[encode.period(when) for when in dues],
        options=[None if when is None else encode.options(said, put_off=isinstance(when, timedelta)) for when in dues],
    )
    if not found:
        raise StatementRefused("a queue could not be created", field="queue", fix="create it before this transaction")
    return found


def find(ids: Sequence[str], payloads: Sequence[str] = ()) -> Op[dict[str, Found]]:
    """The runs of these ids, those that there are, compared with the arguments at their places, if these are given."""
    if not ids:
        return {}
    return {found.id: found for found in (yield from rows(FIND, ids=list(ids), payloads=list(payloads)))}


def spawn(entry: Entry, id: str, spec: RunSpec, close: Close, before: Sequence[Entry] = ()) -> Op[int]:
    """Start a child, and record it as a step of its parent, both or neither; the child's job. ``before``: what is to be
    recorded with it. Raises WorkflowExists for a run of this id that isn't that child."""
    [child] = yield from start(spec, [id], [spec.payload], parent=entry.run, close=close)
    if not child.new and (yield from _is_left(child, spec, waiting=entry.state == "waiting", parent=entry.run)):
        yield from rows(BEQUEATH, run=child.job)
        [child] = yield from start(spec, [id], [spec.payload], parent=entry.run, close=close)
    entry.detail = str(child.job)
    *_, answer = yield from record([*before, entry])
    if isinstance(answer, Exception):
        raise answer
    return child.job


def _is_left(child: Started, spec: RunSpec, *, waiting: bool, parent: int) -> Op[bool]:
    """Whether the run that has a child's id was left by one whose own id the parent has taken: then the id is free.
    Otherwise it is joined, if it is what the parent means. Raises WorkflowExists."""
    found = yield from one(KIN, run=child.job, parent=parent)
    if found.kin == "replaced":
        return True
    # What the parent doesn't remember of its own it was made to forget, by a retry with mended code, say.
    unlike = found.name != spec.name or (child.differs and found.kin != "own")
    if waiting and found.lives and found.kin == "other":
        told = "there is a live run of this id, and this run hasn't started it: it would never hear of its end"
    elif unlike:
        told = "there is a run of this id, " + (
            f"and it is one of {found.name}" if found.name != spec.name else "and it was started with other arguments"
        )
    else:
        return False
    raise WorkflowExists(told, id=child.id, field=child.id, fix='give the child an id of its own: f"{wf.id}:…"')


def fork(job: int, step: str | None, id: str) -> Op[Started]:
    """Start a run like this one, that has recorded what this one had before the step."""
    origin = yield from one(ORIGIN, run=job)
    spec = RunSpec(
        name=origin["name"],
        version=origin["version"],
        payload=origin["payload"],
        queue=origin["queue"],
        key=origin["key"],
        priority=origin["priority"],
        tags=tuple(origin["tags"] or ()),
    )
    [started] = yield from start(spec, [id], [spec.payload], conflict="reject", attributes=origin["attributes"])
    yield from rows(FORK, run=job, target=started.job, step=step)
    return started


def _replaced(id: str) -> Op[None]:
    """Take the id away from the run that has it; it is cancelled."""
    job = yield from maybe(SUPERSEDE, id=id)
    if job is not None:
        yield from cancel(job, "another run took its id")


def _params(
    spec: RunSpec,
    ids: Sequence[str],
    payloads: Sequence[str],
    deadline: datetime | timedelta | None,
    attributes: str | None,
    parent: int | None,
    close: Close | None,
) -> dict[str, Any]:
    return {
        "ids": list(ids),
        "payloads": list(payloads),
        "queue": spec.queue,
        "name": spec.name,
        "version": spec.version,
        "task": spec.task,
        "key": spec.key,
        "priority": spec.priority,
        "tags": list(spec.tags) or None,
        "context": context.captured(),
        "parent": parent,
        "close": close,
        "attributes": attributes,
        "deadline_at": encode.moment(deadline),
        "deadline_in": encode.period(deadline),
    }
