"""Enqueue: many jobs in one statement, on whatever connection the caller's transaction is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ...core import limits
from ...core.errors import StatementRefused
from ...core.op import Op, Statement, maybe
from ...sql import statement
from .. import encode
from ..model import Enqueued, JobSpec
from .admission import admit
from .attach import attach
from .unique import enqueue_free, enqueue_unique
from .whole import whole

ENQUEUE: Statement[list[int] | None] = statement("jobs.enqueue", lambda row: row["ids"])
ENQUEUE_ALIKE: Statement[list[int] | None] = statement("jobs.enqueue_alike", lambda row: row["ids"])
ENQUEUE_ONE: Statement[list[int] | None] = statement("jobs.enqueue_one", lambda row: [row["id"]])

CHARS_MAX = 64 * 1_048_576
"""Characters of arguments in one statement, which stays far below the gigabyte that Postgres takes as one message."""


def enqueue(specs: Sequence[JobSpec], *, wake: bool = True) -> Op[list[int]]:
    """Write the jobs, in order; their ids come back in the same order. Each of ``batches`` is one statement.

    ``wake``: test for sleepers and notify them at commit. A transaction that is going to be prepared can't notify, so
    its caller says False and leaves it to the poll. Raises QueueSaturated before anything is written.
    """
    if [spec for spec in specs if spec.unique is not None or spec.follow_ups]:
        return [written.id for written in (yield from enqueue_each(specs, wake=wake))]
    return (yield from _enqueue(specs, wake))


def _enqueue(specs: Sequence[JobSpec], wake: bool) -> Op[list[int]]:
    """Those without a unique key."""
    if len(specs) == 1 and specs[0].delay is None and specs[0].run_at is None:
        return (yield from _write(ENQUEUE_ONE, specs, {**encode.scalars(specs[0]), "wake": wake}))
    parts = batches(specs)
    if len(parts) > 1:
        # Before the first statement, and for all of them: what a later one refused would leave the first one written.
        return (yield from _write_admitted(specs, (yield from admit(specs)), wake))
    ids: list[int] = []
    for batch in parts:
        written, params = _encoded(batch)
        ids += yield from _write(written, batch, {**params, "wake": wake})
    return ids


def enqueue_each(specs: Sequence[JobSpec], *, wake: bool = True, free: bool = True) -> Op[list[Enqueued]]:
    """As ``enqueue``, with what became of each of them: some have unique keys, or follow-ups. In one transaction all
    are written, or none is, and what was there is as it was. ``free``: all the keys may be; False after
    ``enqueue_alone`` found that they aren't. Raises DuplicateJob or QueueSaturated.
    """
    if len(specs) < 2:
        return (yield from _each(specs, wake, free))
    # Keys are taken in ascending order, but for one that is asked for again because it was freed meanwhile.
    return (yield from whole(_each(specs, wake, free), again=lambda: _each(specs, wake, False)))


def enqueue_alone(specs: Sequence[JobSpec]) -> Op[list[Enqueued] | None] | None:
    """Write jobs with unique keys in one statement, which is a transaction by itself; None, and nothing is written,
    when one of the keys isn't free. No op at all for what takes several statements: ``enqueue_each``, in a transaction,
    is for both."""
    if specs[0].unique is None or specs[0].follow_ups or len(batches(specs)) > 1:
        return None
    op = enqueue_free(specs, wake=True)
    return None if op is None else _told(op)


def _told(op: Op[list[int] | None]) -> Op[list[Enqueued] | None]:
    ids = yield from op
    return None if ids is None else list(map(Enqueued, ids))


def _each(specs: Sequence[JobSpec], wake: bool, free: bool) -> Op[list[Enqueued]]:
    found: dict[int, Enqueued] = {}
    keyed = [place for place, spec in enumerate(specs) if spec.unique is not None]
    plain = [place for place, spec in enumerate(specs) if spec.unique is None]
    for batch in batches([specs[place] for place in keyed]):
        yield from enqueue_unique(specs, keyed[len(found) :][: len(batch)], found, wake, free=free)
    ids = yield from _enqueue([specs[place] for place in plain], wake)
    found.update(zip(plain, map(Enqueued, ids), strict=True))
    jobs = [found[place] for place in range(len(specs))]
    yield from attach(jobs, specs)
    return jobs


def batches(specs: Sequence[JobSpec]) -> list[Sequence[JobSpec]]:
    """The specs, in as few statements as they fit in: so many jobs, and so many characters, at most."""
    rows_max = limits.ENQUEUE_STATEMENT_ROWS_MAX
    if 0 < len(specs) <= rows_max and sum(map(len, [spec.payload for spec in specs])) <= CHARS_MAX:
        return [specs]
    found: list[Sequence[JobSpec]] = []
    start = chars = 0
    for place, spec in enumerate(specs):
        chars += len(spec.payload)
        if place > start and (place - start == rows_max or chars > CHARS_MAX):
            found.append(specs[start:place])
            start, chars = place, len(spec.payload)
    return [*found, specs[start:]] if specs else found


def _encoded(batch: Sequence[JobSpec]) -> tuple[Statement[list[int] | None], dict[str, Any]]:
    """The statement that writes them, and its parameters."""
    said = encode.turned(batch)
    if encode.alike(said):
        return ENQUEUE_ALIKE, encode.shared(batch[0], said["payload"])
    return ENQUEUE, encode.columns(said)


def _write(written: Statement[list[int] | None], batch: Sequence[JobSpec], params: Mapping[str, Any]) -> Op[list[int]]:
    """The ids that the statement returns; when a queue is missing, it is made; when one is guarded, it is asked."""
    ids = yield from maybe(written, **params, admitted=False)
    if ids is not None:
        return ids
    due = yield from admit(batch)
    if due:
        return (yield from _write_admitted(batch, due, params["wake"]))
    return _made((yield from maybe(written, **params, admitted=True)))


def _write_admitted(specs: Sequence[JobSpec], due: Mapping[int, datetime | timedelta], wake: bool) -> Op[list[int]]:
    """Write what has been admitted, those at these places with another due time than they say."""
    ids: list[int] = []
    for batch in batches(specs):
        written, params = _encoded(batch)
        late = {place - len(ids): when for place, when in due.items() if 0 <= place - len(ids) < len(batch)}
        if late:
            written, params = ENQUEUE, encode.columns(encode.turned(batch)) | encode.dues(batch, late)
        ids += _made((yield from maybe(written, **params, wake=wake, admitted=True)))
    return ids


def _made(ids: list[int] | None) -> list[int]:
    if ids is None:
        raise StatementRefused("a queue could not be created", field="queue", fix="create it before this transaction")
    return ids
