"""A lock that wasn't granted, in the words of whoever asked for it: which row another transaction was writing."""

from __future__ import annotations

import re

from .errors import LockTimeout


def tell(error: LockTimeout, table: str, what: str, *, field: str, fix: str) -> None:
    """Let the error say what was waited for, if that was a row of this table (or of its primary key): "'k' is being
    written". Of a lock on a whole table it goes on to say what the server says.

    The server names a row's place and its table in one line, in whatever language it speaks.
    """
    if any(re.search(rf"\b{table}(_pkey)?\b", line) for line in re.findall(r".*\(\d+,\d+\).*", error.message)):
        error.message = f"{what} by another open transaction, which hasn't ended within the lock timeout"
        error.field, error.fix = field, f"commit that one first; if it is your own, {fix}"
