"""The only functions that touch a cursor: ``drive`` (psycopg), ``adrive`` (psycopg async), ``apg`` (asyncpg), and one
statement alone, ``execute`` and ``aexecute``.

They carry an op's calls to Postgres, and rows or errors back in. They neither begin nor commit: the connection decides.
``converse`` and ``aconverse`` do the same over whatever sends a call, for connections that a library wraps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import asyncpg
from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.rows import dict_row

from ..core.op import Call, Op, Row
from ..sql import compiled, numbered
from .errors import translate
from .pooler import AsyncPooledConnection, PooledConnection, is_loose

R = TypeVar("R")
Send: TypeAlias = Callable[[Call], Sequence[Row]]
AsyncSend: TypeAlias = Callable[[Call], Awaitable[Sequence[Row]]]


def drive(conn: Connection[Any], op: Op[R], schema: str = "perdure") -> R:
    """Run the op on a psycopg connection. Raises what the op raises; database errors are ``core.errors``."""
    return converse(op, lambda call: execute(conn, call, schema))


async def adrive(conn: AsyncConnection[Any], op: Op[R], schema: str = "perdure") -> R:
    """Run the op on a psycopg asynchronous connection."""
    return await aconverse(op, lambda call: aexecute(conn, call, schema))


async def apg(conn: asyncpg.Connection[Any], op: Op[R], schema: str = "perdure") -> R:
    """Run the op on an asyncpg connection; its statements are prepared once per connection and kept by asyncpg."""

    async def fetch(call: Call) -> Any:
        text, names = numbered(call.statement, schema)
        return await conn.fetch(text, *[call.params[name] for name in names])

    return await aconverse(op, fetch)


def converse(op: Op[R], send: Send) -> R:
    """Run the op over a function that sends a call and returns its rows."""
    try:
        call = next(op)
        while True:
            try:
                found = send(call)
            except Exception as error:
                call = _refuse(op, error)
            else:
                call = op.send(found)
    except StopIteration as done:
        result: R = done.value
        return result
    finally:
        op.close()


async def aconverse(op: Op[R], send: AsyncSend) -> R:
    """Run the op over an asynchronous function that sends a call and returns its rows."""
    try:
        call = next(op)
        while True:
            try:
                found = await send(call)
            except Exception as error:
                call = _refuse(op, error)
            else:
                call = op.send(found)
    except StopIteration as done:
        result: R = done.value
        return result
    finally:
        op.close()


def _refuse(op: Op[R], error: Exception) -> Call:
    """Throw the error into the op, as one of ours; an op that doesn't answer it lets it pass."""
    ours = translate(error)
    if ours is None:
        return op.throw(error)
    ours.__cause__ = error
    return op.throw(ours)


def execute(conn: Connection[Any], call: Call, schema: str) -> Sequence[Row]:
    """One statement on a psycopg connection; its rows."""
    text = compiled(call.statement, schema).encode()
    if isinstance(conn, PooledConnection) and is_loose(conn):
        return conn.alone(text, call.params)
    # A plain Cursor, whatever kind the owner of the connection prefers.
    with Cursor(conn, row_factory=dict_row) as cursor:
        if conn.info.pipeline_status:  # a pipeline inside the owner's brings the rows when it ends
            with conn.pipeline():
                cursor.execute(text, call.params)
        else:
            cursor.execute(text, call.params)
        return cursor.fetchall() if _has_rows(cursor) else []


async def aexecute(conn: AsyncConnection[Any], call: Call, schema: str) -> Sequence[Row]:
    """One statement on a psycopg asynchronous connection; its rows."""
    text = compiled(call.statement, schema).encode()
    if isinstance(conn, AsyncPooledConnection) and is_loose(conn):
        return await conn.alone(text, call.params)
    async with AsyncCursor(conn, row_factory=dict_row) as cursor:
        if conn.info.pipeline_status:
            async with conn.pipeline():
                await cursor.execute(text, call.params)
        else:
            await cursor.execute(text, call.params)
        return await cursor.fetchall() if _has_rows(cursor) else []


def _has_rows(cursor: Cursor[Any] | AsyncCursor[Any]) -> bool:
    """Whether the statement returns rows. ``description`` would tell, too, and make an object of every column."""
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0
