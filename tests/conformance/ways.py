"""Ways of enqueueing in a transaction of one's own, under one face: begin, write, enqueue, commit or roll back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import django
import psycopg
import sqlalchemy
from django.conf import settings
from django.db import connections, transaction
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.orm import Session

from perdure import Client, JobSpec
from perdure.app.client import Bound
from perdure.jobs.view import Job


class Way:
    """One connection or session of an application. ``write`` is the application's own statement in its transaction."""

    one_statement = True
    """Whether many jobs are one statement."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.open()

    def open(self) -> None: ...
    def close(self) -> None: ...
    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def write(self, text: str) -> None: ...

    def nouns(self) -> Bound:
        raise AssertionError("each way has its own")

    def enqueue(self, job: JobSpec, **options: Any) -> int:
        return self.nouns().jobs.enqueue(job, **options).id

    def enqueue_many(self, jobs: Sequence[JobSpec]) -> list[int]:
        return [job.id for job in self.nouns().jobs.enqueue_many(jobs)]

    def get(self, id: int) -> Job:
        return self.nouns().jobs.get(id)


class Psycopg(Way):
    def open(self) -> None:
        self.conn = psycopg.connect(self.url)

    def nouns(self) -> Bound:
        return Client(self.url).on(self.conn)

    def write(self, text: str) -> None:
        self.conn.execute(text.encode())

    def commit(self) -> None:
        self.conn.commit()

    def rollback(self) -> None:
        self.conn.rollback()

    def close(self) -> None:
        self.conn.close()


class Sql(Psycopg):
    """enqueue_v1, called as any language would."""

    one_statement = False

    def enqueue(self, job: JobSpec, **options: Any) -> int:
        return enqueue_v1(self.conn, **arguments(job.options(**options)))

    def enqueue_many(self, jobs: Sequence[JobSpec]) -> list[int]:
        return [self.enqueue(job) for job in jobs]


class OwnTransaction(Way):
    """The client's own ``transaction()``."""

    block: AbstractContextManager[Any]

    def open(self) -> None:
        self.client = Client(self.url)

    def begin(self) -> None:
        self.block = self.client.transaction()
        self.tx = self.block.__enter__()

    def nouns(self) -> Bound:
        found: Bound = self.tx
        return found

    def write(self, text: str) -> None:
        self.tx.connection.execute(text)

    def commit(self) -> None:
        self.block.__exit__(None, None, None)

    def rollback(self) -> None:
        roll_back(self.block)

    def close(self) -> None:
        self.client.close()


class SqlalchemySession(Way):
    def open(self) -> None:
        self.engine = sqlalchemy.create_engine(driver(self.url, "psycopg"))
        self.owner: Any = self.make()

    def make(self) -> Any:
        return Session(self.engine)

    def nouns(self) -> Bound:
        found: Bound = Client(self.url).on(self.owner)
        return found

    def write(self, text: str) -> None:
        self.owner.execute(sqlalchemy.text(text))

    def commit(self) -> None:
        self.owner.commit()

    def rollback(self) -> None:
        self.owner.rollback()

    def close(self) -> None:
        self.owner.close()
        self.engine.dispose()


class SqlalchemyConnection(SqlalchemySession):
    def make(self) -> Any:
        return self.engine.connect()


def set_up_django() -> None:
    """Set Django up in this process, with settings of no module."""
    if not settings.configured:
        settings.configure(USE_TZ=True, DATABASES={})
        django.setup()


class Django(Way):
    """``connections[alias]`` inside ``atomic``."""

    numbers = count()

    def open(self) -> None:
        set_up_django()
        found = conninfo_to_dict(self.url)
        self.alias = f"way{next(self.numbers)}"
        options = {"ENGINE": "django.db.backends.postgresql", "NAME": found["dbname"], "USER": found["user"]}
        options |= {"HOST": found["host"], "PORT": found.get("port", "")}
        default = {"ENGINE": "django.db.backends.dummy"}
        known: Any = connections.configure_settings({"default": default, self.alias: options})
        connections.settings[self.alias] = known[self.alias]
        self.wrapper = connections[self.alias]

    def begin(self) -> None:
        self.block = transaction.atomic(using=self.alias)
        self.block.__enter__()

    def nouns(self) -> Bound:
        found: Bound = Client(self.url).on(self.wrapper)
        return found

    def write(self, text: str) -> None:
        with self.wrapper.cursor() as cursor:
            cursor.execute(text)

    def commit(self) -> None:
        self.block.__exit__(None, None, None)

    def rollback(self) -> None:
        roll_back(self.block)

    def close(self) -> None:
        self.wrapper.close()
        del connections[self.alias]
        del connections.settings[self.alias]


_CASTS = {
    "payload": "json", "delay": "interval", "run_at": "timestamptz", "expires_at": "timestamptz",
    "expires_in": "interval", "timeout": "float8", "retry": "json", "tags": "text[]", "priority": "int",
    "at_most_once": "boolean", "wake": "boolean", "context": "json", "version": "int",
    "unique_lifetime": "interval",
}  # fmt: skip


def enqueue_v1(conn: psycopg.Connection[Any], **given: Any) -> int:
    """Call the function with named arguments."""
    named = ", ".join(f"{name} => %({name})s::{_CASTS.get(name, 'text')}" for name in given)
    row = conn.execute(f"select perdure.enqueue_v1({named})".encode(), given).fetchone()
    assert row is not None
    return int(row[0])


def arguments(job: JobSpec) -> dict[str, Any]:
    """What a spec says, as the named arguments of enqueue_v1."""
    given: dict[str, Any] = {
        "task": job.task, "payload": job.payload, "queue": job.queue, "key": job.key, "priority": job.priority,
        "delay": job.delay, "run_at": job.run_at, "timeout": job.timeout, "at_most_once": job.at_most_once,
        "expires_at": job.expires if isinstance(job.expires, datetime) else None,
        "expires_in": job.expires if isinstance(job.expires, timedelta) else None,
        "retry": json.dumps(job.retry.to_options()) if job.retry else None,
        "tags": list(job.tags) or None,
        "context": job.context or None, "version": job.version if job.version != 1 else None,
    }  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def driver(url: str, name: str) -> str:
    """The URL as SQLAlchemy wants it."""
    return url.replace("postgresql://", f"postgresql+{name}://", 1)


def roll_back(block: Any) -> None:
    """Leave a block as an exception would."""
    error = ZeroDivisionError()
    try:
        block.__exit__(ZeroDivisionError, error, None)
    except ZeroDivisionError:
        return
