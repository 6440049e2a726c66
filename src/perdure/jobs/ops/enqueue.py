"""Enqueue: many jobs in one statement, on whatever connection the caller's transaction is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core import limits
from ...core.errors import StatementRefused
from ...core.op import Op, Row, Statement, maybe, rows
from ...sql import statement
from .. import encode
from ..model import JobSpec


def _ids(row: Row) -> list[int] | None:
    """In order; None when nothing was written because a queue is missing."""
    ids: list[int] | None = row["ids"]
    return ids


def _only_id(row: Row) -> list[int] | None:
    return [row["id"]]


ENQUEUE = statement("jobs.enqueue", _ids)
ENQUEUE_ONE = statement("jobs.enqueue_one", _only_id)
ENSURE = statement("queues.ensure", lambda row: row)


def enqueue(specs: Sequence[JobSpec], *, wake: bool = True) -> Op[list[int]]:
    """Write the jobs, in order; their ids come back in the same order.

    ``wake``: test for sleepers and notify them at commit. A transaction that is going to be prepared can't notify, so
    its caller says False and leaves it to the poll.
    """
    if len(specs) == 1 and specs[0].delay is None and specs[0].run_at is None:
        return (yield from _write(ENQUEUE_ONE, [specs[0].queue], {**encode.scalars(specs[0]), "wake": wake}))
    ids: list[int] = []
    for start in range(0, len(specs), limits.ENQUEUE_STATEMENT_ROWS_MAX):
        params = encode.columns(specs[start : start + limits.ENQUEUE_STATEMENT_ROWS_MAX])
        ids += yield from _write(ENQUEUE, params["queues"], {**params, "wake": wake})
    return ids


def _write(written: Statement[list[int] | None], queues: list[str], params: Mapping[str, Any]) -> Op[list[int]]:
    """The ids that the statement returns; when it finds a queue missing, it is made and the statement sent again."""
    ids = yield from maybe(written, **params)
    if ids is None:
        yield from rows(ENSURE, names=queues)
        ids = yield from maybe(written, **params)
    if ids is None:
        raise StatementRefused("a queue could not be created", field="queue", fix="create it before this transaction")
    return ids
