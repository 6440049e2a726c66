"""What Postgres and the drivers raise, as ``core.errors``. Classes: PostgreSQL manual, appendix A (SQLSTATE)."""

from __future__ import annotations

from collections import Counter

import asyncpg
import psycopg

from ..core.errors import (
    ConnectionLost,
    DatabaseError,
    LockTimeout,
    NotPermitted,
    StatementRefused,
    StatementTimeout,
    TransactionConflict,
    TransientError,
)

_LOST = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04")
_MISSING = ("3F000", "42P01", "42703", "42883")  # a schema, a table, a column, a function that isn't there
_FIXES = {
    **dict.fromkeys(_MISSING, "if Perdure's schema lacks it, run `perdure migrate`"),
    "42501": "`perdure schema --roles` says which role may",
}
_TRANSIENT = ("40", "53", "57", "55P03", "58", "25006")

_KINDS: dict[str, type[DatabaseError]] = {
    "55P03": LockTimeout,
    "42501": NotPermitted,
    "57014": StatementTimeout,
    "40001": TransactionConflict,
    "40P01": TransactionConflict,
}


SEEN: Counter[str] = Counter()
"""How often this process has met each SQLSTATE; for its metrics."""


def translate(error: BaseException) -> DatabaseError | None:
    """The error as one of ours, or None when it isn't the database's (it is then raised as it is)."""
    if isinstance(error, psycopg.Error):
        return _from_state(error.sqlstate, str(error), lost=isinstance(error, psycopg.OperationalError))
    if isinstance(error, asyncpg.PostgresError):
        # As psycopg tells it: what was waited for stands there.
        text = f"{error}\nCONTEXT:  {error.context}" if error.sqlstate == "55P03" and error.context else str(error)
        return _from_state(error.sqlstate, text, lost=False)
    # InternalClientError: the server ended the session while this process was busy, and asyncpg has read that message
    # in the middle of sending the next one.
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | EOFError):
        return ConnectionLost(f"the connection to Postgres is gone: {error}", sqlstate=None)
    return None


def _from_state(state: str | None, text: str, *, lost: bool) -> DatabaseError:
    text = text.strip() or "no message"
    SEEN[state or "none"] += 1
    if state is None:
        kind: type[DatabaseError] = ConnectionLost if lost else StatementRefused
    elif state.startswith(_LOST):
        kind = ConnectionLost
    elif state in _KINDS:
        kind = _KINDS[state]
    else:
        kind = TransientError if state.startswith(_TRANSIENT) else StatementRefused
    return kind(text, sqlstate=state, fix=_FIXES.get(state or ""))
