"""All of an op or nothing of it, in a transaction that goes on after the op has raised.

A caller who catches a refusal commits what was written before it; so an op of several statements, of which a later one
can be refused when an earlier one has written, runs behind a savepoint. That costs two round trips more, so one that is
refused before it writes goes without.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ...core.errors import DatabaseError, StatementRefused, TransactionConflict
from ...core.op import Op, maybe
from ...sql import statement

R = TypeVar("R")

SAVEPOINT = statement("session.savepoint", lambda row: row)
RELEASE = statement("session.release", lambda row: row)
TAKE_BACK = statement("session.take_back", lambda row: row)

NO_TRANSACTION = "25P01"
DEADLOCK = "40P01"

REPEATS_MAX = 3
"""How often an op is begun again that was ended as one of a circle. More than once or twice, and the circle goes
through what its transaction did before."""


def whole(op: Op[R], again: Callable[[], Op[R]] | None = None) -> Op[R]:
    """What the op returns. When it raises, what it has written is taken back; the connection's transaction stays as it
    was. On a connection without one, each statement has committed by itself, and stays.

    ``again``: makes the op anew, for when Postgres has ended a statement of it because of a deadlock. Nothing of the op
    is left then, locks included, so that whoever stood in its way has gone on.
    """
    try:
        yield from maybe(SAVEPOINT)
    except StatementRefused as error:
        if error.sqlstate != NO_TRANSACTION:
            raise
        return (yield from op)
    repeats = 0 if again is None else REPEATS_MAX
    while True:
        try:
            result = yield from op
            break
        except Exception as error:
            if again is None or repeats == 0 or not _is_deadlock(error):
                with suppress(DatabaseError):  # a connection that is gone has nothing to take back; the cause is told
                    yield from maybe(TAKE_BACK)
                    yield from maybe(RELEASE)
                raise
        repeats -= 1
        yield from maybe(TAKE_BACK)
        op = again()
    yield from maybe(RELEASE)
    return result


def _is_deadlock(error: Exception) -> bool:
    return isinstance(error, TransactionConflict) and error.sqlstate == DEADLOCK
