"""All of an op or nothing of it, in a transaction that goes on after the op has raised.

A caller who catches a refusal commits what was written before it; so an op of several statements, of which a later one
can be refused when an earlier one has written, runs behind a savepoint. That costs two round trips more, so one that is
refused before it writes goes without.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

from ...core.errors import DatabaseError, StatementRefused
from ...core.op import Op, maybe
from ...sql import statement

R = TypeVar("R")

SAVEPOINT = statement("session.savepoint", lambda row: row)
RELEASE = statement("session.release", lambda row: row)
TAKE_BACK = statement("session.take_back", lambda row: row)

NO_TRANSACTION = "25P01"


def whole(op: Op[R]) -> Op[R]:
    """What the op returns. When it raises, what it has written is taken back; the connection's transaction stays as it
    was. On a connection without one, each statement has committed by itself, and stays."""
    try:
        yield from maybe(SAVEPOINT)
    except StatementRefused as error:
        if error.sqlstate != NO_TRANSACTION:
            raise
        return (yield from op)
    try:
        result = yield from op
    except Exception:
        with suppress(DatabaseError):  # a connection that is gone has nothing to take back, and the cause is told
            yield from maybe(TAKE_BACK)
            yield from maybe(RELEASE)
        raise
    yield from maybe(RELEASE)
    return result
