"""How a client's own transactions end: what a failed commit means, and what a swallowed error does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from inspect import isawaitable
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

import psycopg
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from ...core.errors import ConnectionLost, InvalidOption, OutcomeUnknown, TransactionFailed, Unsupported
from ...pg.errors import translate

R = TypeVar("R")
Isolation: TypeAlias = Literal["read committed", "repeatable read", "serializable"]

OUTCOME_PAUSE_SECONDS: Final = 0.1
"""Between two questions what became of a commit."""

FIX: Final = "repeat it if it only reads, or carries unique keys; otherwise look for what it would have written first"


@contextmanager
def transacting(conn: psycopg.Connection[Any], isolation: Isolation | None = None) -> Iterator[None]:
    """A transaction. Raises OutcomeUnknown when its commit got no answer, and TransactionFailed when one of its
    statements has failed and nobody said so: Postgres would roll it back and psycopg be content."""
    ends, wanted = False, None if isolation is None else level(isolation)
    try:
        if wanted is not None:  # in here, so that whoever is interrupted just then leaves it to nobody
            conn.set_isolation_level(wanted)
        with conn.transaction():
            yield
            refuse_failed(conn)
            ends = True
    except psycopg.Error as error:
        if ends:
            _say_unknown(error)
        raise
    finally:
        if wanted is not None and not conn.closed:
            conn.set_isolation_level(None)


@asynccontextmanager
async def atransacting(conn: psycopg.AsyncConnection[Any], isolation: Isolation | None = None) -> AsyncIterator[None]:
    """The same, awaited."""
    ends, wanted = False, None if isolation is None else level(isolation)
    try:
        if wanted is not None:  # in here, so that whoever is interrupted just then leaves it to nobody
            await conn.set_isolation_level(wanted)
        async with conn.transaction():
            yield
            refuse_failed(conn)
            ends = True
    except psycopg.Error as error:
        if ends:
            _say_unknown(error)
        raise
    finally:
        if wanted is not None and not conn.closed:
            await conn.set_isolation_level(None)


def refuse_failed(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Raise TransactionFailed when the transaction can only be rolled back."""
    if conn.info.transaction_status == TransactionStatus.INERROR:
        raise TransactionFailed(
            "one of its statements has failed, and the error was swallowed: nothing of it was written",
            field="transaction",
            fix="let the error leave the block, or run the statement in a savepoint: tx.connection.transaction()",
        )


def runnable(function: object) -> None:
    """Refuse what can't be called. Raises InvalidOption."""
    if not callable(function):
        raise InvalidOption(
            f"got {type(function).__name__}", field="function", fix="give a function that takes the transaction"
        )


def awaited(result: Awaitable[R]) -> Awaitable[R]:
    """What an async function has returned. Raises Unsupported for the result of a plain one, which has run, and is
    rolled back by that."""
    if not isawaitable(result):
        raise Unsupported(
            "isn't async, and what it wrote is rolled back", field="function", fix="declare it with async def"
        )
    return result


def finished(result: R) -> R:
    """What a plain function has returned. Raises Unsupported for what is still to be awaited: nothing of that has run,
    and a commit now would be one of nothing."""
    if not isawaitable(result):
        return result
    if isinstance(result, Coroutine):
        result.close()
    raise Unsupported(
        "is async, and would have written nothing", field="function", fix="give it to AsyncClient.run, or make it plain"
    )


def level(isolation: Isolation) -> IsolationLevel:
    """Psycopg's own word for it. Raises InvalidOption."""
    if isolation not in get_args(Isolation):
        raise InvalidOption(
            f"{isolation!r} is none", field="isolation", fix=f"give one of {', '.join(get_args(Isolation))}"
        )
    return IsolationLevel[isolation.replace(" ", "_").upper()]


def unknown(error: BaseException) -> OutcomeUnknown:
    """What is raised when a commit got no answer."""
    return OutcomeUnknown(f"the connection broke, and whether it was committed is unknown ({error})", fix=FIX)


def _say_unknown(error: psycopg.Error) -> None:
    if isinstance(translate(error), ConnectionLost):
        raise unknown(error) from error
