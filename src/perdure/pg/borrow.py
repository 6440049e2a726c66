"""A caller's own connection or session, as something an op can be driven on. Nothing here begins, commits or closes.

psycopg, asyncpg and Django's psycopg connection are driven directly. SQLAlchemy is asked to execute, because it begins
its transactions when it executes something and wouldn't know of a statement that went past it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext, suppress
from typing import Any, NoReturn, TypeVar, overload

import asyncpg
import asyncpg.pool
import psycopg

from ..core.errors import Unsupported
from ..core.op import Call, Op, Row
from ..sql import compiled, numbered
from .drive import aconverse, aexecute, apg, converse, drive, execute
from .pooler import is_loose

R = TypeVar("R")

TAKES = (
    "give a connection of psycopg 3 or asyncpg, a Session, AsyncSession, Connection or AsyncConnection of SQLAlchemy, "
    "or a connection of Django"
)


class Borrowed:
    """A synchronous connection. ``ask`` drives an op on it as it is; ``change`` sees to it that the op's statements
    commit together, which only a connection in autocommit mode needs help with."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def ask(self, op: Op[R]) -> R:
        """Drive the op."""
        return converse(op, self._send)

    def change(self, op: Op[R]) -> R:
        """Drive the op; its statements commit together, or with the caller's transaction."""
        with self._together():
            return self.ask(op)

    def _send(self, call: Call) -> Sequence[Row]:
        raise AssertionError("a subclass sends, or drives")

    def _together(self) -> AbstractContextManager[Any]:
        return nullcontext()


class AsyncBorrowed:
    """An asynchronous connection; otherwise as ``Borrowed``."""

    def __init__(self, schema: str) -> None:
        self._schema = schema

    async def ask(self, op: Op[R]) -> R:
        """Drive the op."""
        return await aconverse(op, self._send)

    async def change(self, op: Op[R]) -> R:
        """Drive the op; its statements commit together, or with the caller's transaction."""
        async with self._together():
            return await self.ask(op)

    async def _send(self, call: Call) -> Sequence[Row]:
        raise AssertionError("a subclass sends, or drives")

    def _together(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext()


class OnPsycopg(Borrowed):
    """A connection of psycopg. One that goes on to somebody else at the end of a block is given back by ``end``: what
    holds this still can't reach it any more, not even for the next statement of an op that has begun."""

    def __init__(self, conn: psycopg.Connection[Any], schema: str) -> None:
        super().__init__(schema)
        self._conn: psycopg.Connection[Any] | None = conn

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection. Raises Unsupported after ``end``."""
        if self._conn is None:
            raise _over()
        return self._conn

    def end(self) -> None:
        """Let go of the connection."""
        self._conn = None

    def _send(self, call: Call) -> Sequence[Row]:
        return execute(self.connection, call, self._schema)

    def _together(self) -> AbstractContextManager[Any]:
        return self.connection.transaction() if is_loose(self.connection) else nullcontext()


class OnAsyncPsycopg(AsyncBorrowed):
    """The same, asynchronous."""

    def __init__(self, conn: psycopg.AsyncConnection[Any], schema: str) -> None:
        super().__init__(schema)
        self._conn: psycopg.AsyncConnection[Any] | None = conn

    @property
    def connection(self) -> psycopg.AsyncConnection[Any]:
        """The connection. Raises Unsupported after ``end``."""
        if self._conn is None:
            raise _over()
        return self._conn

    def end(self) -> None:
        """Let go of the connection."""
        self._conn = None

    async def _send(self, call: Call) -> Sequence[Row]:
        return await aexecute(self.connection, call, self._schema)

    def _together(self) -> AbstractAsyncContextManager[Any]:
        return self.connection.transaction() if is_loose(self.connection) else nullcontext()


class _Asyncpg(AsyncBorrowed):
    def __init__(self, conn: Any, schema: str) -> None:
        super().__init__(schema)
        self._conn = conn

    async def ask(self, op: Op[R]) -> R:
        return await apg(self._conn, op, self._schema)

    def _together(self) -> AbstractAsyncContextManager[Any]:
        loose = not self._conn.is_in_transaction()
        return self._conn.transaction() if loose else nullcontext()


class _Django(Borrowed):
    def __init__(self, wrapper: Any, schema: str) -> None:
        super().__init__(schema)
        self._wrapper = wrapper

    def ask(self, op: Op[R]) -> R:
        return drive(self._raw(), op, self._schema)

    def _together(self) -> AbstractContextManager[Any]:
        raw = self._raw()
        return raw.transaction() if is_loose(raw) else nullcontext()

    def _raw(self) -> psycopg.Connection[Any]:
        """The connection under Django's, held to the rules that Django's own cursors keep."""
        self._wrapper.validate_thread_sharing()
        self._wrapper.ensure_connection()
        self._wrapper.validate_no_broken_transaction()
        raw: psycopg.Connection[Any] = self._wrapper.connection
        return raw


class _Sqlalchemy(Borrowed):
    """A Connection, or a Session's connection at the time of the call."""

    def __init__(self, owner: Any, schema: str) -> None:
        super().__init__(schema)
        self._owner = owner

    def _send(self, call: Call) -> Sequence[Row]:
        from sqlalchemy.exc import DBAPIError

        conn = self._owner.connection() if _is_session(self._owner) else self._owner
        _check_dialect(conn.dialect)
        text, values = _worded(call, self._schema, conn.dialect)
        try:
            result = conn.exec_driver_sql(text, values)
            return result.mappings().all() if result.returns_rows else []
        except DBAPIError as error:
            raise _driver_error(error) from error


class _AsyncSqlalchemy(AsyncBorrowed):
    """An AsyncConnection, or an AsyncSession's connection at the time of the call."""

    def __init__(self, owner: Any, schema: str) -> None:
        super().__init__(schema)
        self._owner = owner

    async def _send(self, call: Call) -> Sequence[Row]:
        from sqlalchemy.exc import DBAPIError

        conn = await self._owner.connection() if _is_session(self._owner) else self._owner
        _check_dialect(conn.dialect)
        text, values = _worded(call, self._schema, conn.dialect)
        try:
            result = await conn.exec_driver_sql(text, values)
            return result.mappings().all() if result.returns_rows else []
        except DBAPIError as error:
            raise _driver_error(error) from error


@overload
def borrow(thing: psycopg.Connection[Any], schema: str) -> Borrowed: ...


@overload
def borrow(thing: psycopg.AsyncConnection[Any], schema: str) -> AsyncBorrowed: ...


@overload
def borrow(thing: Any, schema: str) -> Borrowed | AsyncBorrowed: ...


def borrow(thing: Any, schema: str) -> Borrowed | AsyncBorrowed:
    """What drives ops in the transaction that is open on a connection or session. No I/O.

    Raises Unsupported for what can't be borrowed: another driver, another database, a closed connection.
    """
    origins = {each.__module__.partition(".")[0] for each in type(thing).__mro__}
    if isinstance(thing, psycopg.Connection | psycopg.AsyncConnection):
        _refuse_closed(thing.closed)
        return OnPsycopg(thing, schema) if isinstance(thing, psycopg.Connection) else OnAsyncPsycopg(thing, schema)
    if isinstance(thing, asyncpg.Connection | asyncpg.pool.PoolConnectionProxy):
        _refuse_closed(_asyncpg_closed(thing))
        return _Asyncpg(thing, schema)
    if "sqlalchemy" in origins:
        return _from_sqlalchemy(thing, schema)
    if "django" in origins:
        return _from_django(thing, schema)
    _refuse(thing)


def _from_sqlalchemy(thing: Any, schema: str) -> Borrowed | AsyncBorrowed:
    from sqlalchemy.engine import Connection
    from sqlalchemy.exc import UnboundExecutionError
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    if isinstance(thing, scoped_session | async_scoped_session):
        thing = thing()
    if isinstance(thing, Session | AsyncSession):
        with suppress(UnboundExecutionError):  # bound by its mappers only: checked when it has a connection
            _check_dialect(thing.get_bind().dialect)
        return _Sqlalchemy(thing, schema) if isinstance(thing, Session) else _AsyncSqlalchemy(thing, schema)
    if isinstance(thing, AsyncConnection) and thing.sync_connection is None:
        raise Unsupported(
            "is an AsyncConnection that isn't open", field="connection", fix="await it, or enter it with async with"
        )
    if isinstance(thing, Connection | AsyncConnection):
        _refuse_closed(thing.closed)
        _check_dialect(thing.dialect)
        return _Sqlalchemy(thing, schema) if isinstance(thing, Connection) else _AsyncSqlalchemy(thing, schema)
    _refuse(thing)


def _from_django(thing: Any, schema: str) -> Borrowed:
    vendor = getattr(thing, "vendor", None)
    if vendor is None or not hasattr(thing, "ensure_connection"):
        _refuse(thing)
    if vendor != "postgresql":
        raise Unsupported(
            f"is Django's connection to {vendor}", field="connection", fix="give the one to Postgres: connections[…]"
        )
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        raise _psycopg_2("Django runs on psycopg2 here", "install psycopg 3: Django prefers it")
    return _Django(thing, schema)


def _check_dialect(dialect: Any) -> None:
    """Refuse what isn't SQLAlchemy on psycopg 3 or asyncpg."""
    if dialect.name == "postgresql" and dialect.driver in ("psycopg", "asyncpg"):
        return
    fix = "make the engine with postgresql+psycopg:// or postgresql+asyncpg://"
    if dialect.driver == "psycopg2":
        raise _psycopg_2("SQLAlchemy's engine runs on psycopg2", fix)
    raise Unsupported(f"SQLAlchemy's engine runs on {dialect.name}+{dialect.driver}", field="connection", fix=fix)


def _worded(call: Call, schema: str, dialect: Any) -> tuple[str, Any]:
    """The statement and its values in the driver's own style, which SQLAlchemy passes on untouched."""
    if dialect.driver == "asyncpg":
        text, names = numbered(call.statement, schema)
        return text, tuple(call.params[name] for name in names)
    return compiled(call.statement, schema), dict(call.params)


def _driver_error(error: Any) -> BaseException:
    """What the driver itself raised: psycopg's error is kept in ``orig``, asyncpg's is the cause of the one there."""
    found = error.orig
    return found if isinstance(found, psycopg.Error) else (found.__cause__ or found)


def _is_session(owner: Any) -> bool:
    return not hasattr(owner, "exec_driver_sql")


def _asyncpg_closed(conn: Any) -> bool:
    try:
        closed: bool = conn.is_closed()
    except asyncpg.InterfaceError:  # it went back to its pool
        return True
    return closed


def _over() -> Unsupported:
    return Unsupported(
        "has ended, and its connection may be somebody else's by now",
        field="transaction",
        fix="use it inside of its block, and await there what you have begun with it",
    )


def _refuse_closed(closed: bool) -> None:
    if closed:
        raise Unsupported("is closed", field="connection", fix="give one that is open")


def _psycopg_2(message: str, fix: str) -> Unsupported:
    return Unsupported(message, field="connection", fix=fix)


def _refuse(thing: Any) -> NoReturn:
    kind = type(thing)
    origin = kind.__module__.partition(".")[0]
    shown = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    fix = TAKES
    if origin == "psycopg2":
        fix = "connect with psycopg 3 (`import psycopg`); psycopg2 isn't supported"
    elif "Pool" in kind.__name__:
        fix = "give a connection of the pool"
    elif "Engine" in kind.__name__:
        fix = "give the connection of `engine.begin()`: an engine has no transaction"
    elif "maker" in kind.__name__:
        fix = "give a session it made"
    elif "Cursor" in kind.__name__:
        fix = "give the cursor's connection"
    raise Unsupported(f"a {shown} can't be borrowed", field="connection", fix=fix)
