"""Enqueue: many jobs in one statement, on whatever connection the caller's transaction is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core import limits
from ...core.errors import StatementRefused
from ...core.op import Op, Statement, maybe, rows
from ...sql import statement
from .. import encode
from ..model import JobSpec

ENQUEUE: Statement[list[int] | None] = statement("jobs.enqueue", lambda row: row["ids"])
ENQUEUE_ALIKE: Statement[list[int] | None] = statement("jobs.enqueue_alike", lambda row: row["ids"])
ENQUEUE_ONE: Statement[list[int] | None] = statement("jobs.enqueue_one", lambda row: [row["id"]])
ENSURE = statement("queues.ensure", lambda row: row)

CHARS_MAX = 64 * 1_048_576
"""Characters of arguments in one statement, which stays far below the gigabyte that Postgres takes as one message."""


def enqueue(specs: Sequence[JobSpec], *, wake: bool = True) -> Op[list[int]]:
    """Write the jobs, in order; their ids come back in the same order. Each of ``batches`` is one statement.

    ``wake``: test for sleepers and notify them at commit. A transaction that is going to be prepared can't notify, so
    its caller says False and leaves it to the poll.
    """
    if len(specs) == 1 and specs[0].delay is None and specs[0].run_at is None:
        return (yield from _write(ENQUEUE_ONE, [specs[0].queue], {**encode.scalars(specs[0]), "wake": wake}))
    ids: list[int] = []
    for batch in batches(specs):
        said = encode.turned(batch)
        if encode.alike(said):
            params = encode.shared(batch[0], said["payload"])
            ids += yield from _write(ENQUEUE_ALIKE, [batch[0].queue], {**params, "wake": wake})
        else:
            params = encode.columns(said)
            ids += yield from _write(ENQUEUE, params["queues"], {**params, "wake": wake})
    return ids


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


def _write(written: Statement[list[int] | None], queues: list[str], params: Mapping[str, Any]) -> Op[list[int]]:
    """The ids that the statement returns; when it finds a queue missing, it is made and the statement sent again."""
    ids = yield from maybe(written, **params)
    if ids is None:
        yield from rows(ENSURE, names=queues)
        ids = yield from maybe(written, **params)
    if ids is None:
        raise StatementRefused("a queue could not be created", field="queue", fix="create it before this transaction")
    return ids
