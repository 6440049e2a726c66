"""Bad input gives one clear error, with the field, the problem and the fix, and writes nothing."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from perdure import App, AsyncClient, Client, JobSpec, PerdureError, Retry, chain
from perdure.core import errors, limits
from tests.conftest import Database
from tests.rooms.client.shop import app, charge, remind, send_receipt

NAIVE = datetime(2026, 1, 1, 12)  # noqa: DTZ001  # the mistake itself
AT = datetime.fromisoformat("2026-01-01T12:00:00+00:00")
any_of: Any = send_receipt.job
reminder: Any = remind.job

ARGUMENTS: dict[str, tuple[Callable[[], Any], type[PerdureError], str]] = {
    "a wrong type": (lambda: any_of(order_id="9182"), errors.InvalidArgument, "order_id"),
    "a missing argument": (lambda: any_of(), errors.MissingArgument, "order_id"),
    "an unknown argument": (lambda: any_of(order_id=1, colour="red"), errors.UnknownArgument, "colour"),
    "one too many": (lambda: any_of(1, "a", 3), errors.UnknownArgument, "send_receipt"),
    "too large": (
        lambda: any_of(order_id=1, note="x" * limits.PAYLOAD_BYTES_MAX), errors.PayloadTooLarge, "note",
    ),
    "no data": (lambda: reminder(AT, 1.0, sqlite3), errors.Unserialisable, "about"),
    "no data, deep inside": (lambda: reminder(AT, 1.0, {"a": [object()]}), errors.Unserialisable, "about.a[0]"),
    "NaN": (lambda: reminder(AT, math.nan, None), errors.InvalidArgument, "amount"),
    "NaN, deep inside": (lambda: reminder(AT, 1.0, [{"x": math.inf}]), errors.InvalidArgument, "about[0].x"),
    "a naive datetime": (lambda: reminder(NAIVE, 1.0, None), errors.InvalidArgument, "at"),
    "NUL": (lambda: any_of(order_id=1, note="a\0b"), errors.InvalidArgument, "note"),
    "half a surrogate pair": (lambda: any_of(order_id=1, note="\ud800"), errors.InvalidArgument, "note"),
    "an unknown task": (lambda: app.find("send_recipt"), errors.UnknownTask, "task"),
}  # fmt: skip

OPTIONS: dict[str, Any] = {
    "queue": "a b", "key": "", "priority": 10, "delay": -1, "run_at": NAIVE, "expires": 0, "timeout": math.nan,
    "retry": 3, "tags": None, "at_most_once": "yes", "colour": "red",
}  # fmt: skip


def _nothing(db: Database) -> bool:
    row = (
        db.connect()
        .execute("select (select count(*) from perdure.job) + (select count(*) from perdure.queue)")
        .fetchone()
    )
    return row == (0,)


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_bad_argument_is_refused_before_anything_is_written(db: Database, case: str) -> None:
    """Each bad argument is named, with what is wrong and what helps, and the transaction goes on without it [DW-12].

    Guard: ``Task.job`` binds the arguments to the signature before there is a job.
    """
    make, kind, field = ARGUMENTS[case]
    with Client(db.url) as client, client.transaction() as tx:
        with pytest.raises(kind) as caught:
            tx.jobs.enqueue(make())
        assert tx.connection.execute("select 1").fetchone() == (1,)

    assert (caught.value.field, caught.value.exit_code, bool(caught.value.fix)) == (field, 2, True)
    assert "\n" not in str(caught.value)
    assert _nothing(db)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_bad_option_is_refused_before_anything_is_written(db: Database, option: str) -> None:
    """Each bad option is named, with what is wrong and what helps [DW-12]. Guard: the checks of ``JobSpec.options``."""
    with Client(db.url) as client, pytest.raises(errors.InvalidOption) as caught:
        client.jobs.enqueue(send_receipt.job(order_id=1), **{option: OPTIONS[option]})

    assert (caught.value.field, caught.value.exit_code, bool(caught.value.fix)) == (option, 2, True)
    assert _nothing(db)


first: Any = charge.job(1)
other: Any = App("other")
chained: Any = chain
spec: Any = JobSpec
made: Any = Client
CALLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a chain of texts": (lambda client: chained("a", "b"), "chain"),
    "a chain of one text": (lambda client: chained("a"), "chain"),
    "a chain of tasks": (lambda client: chained(charge, charge), "chain"),
    "a list to follow": (lambda client: first.then([charge.job(2)]), "follow_ups"),
    "texts to follow": (lambda client: spec(task="a", payload="{}", follow_ups=("b",)), "follow_ups"),
    "no tags": (lambda client: spec(task="a", payload="{}", tags=None), "tags"),
    "no function": (lambda client: client.run(None), "function"),
    "a wait of words": (lambda client: client.jobs.wait_chain(1, timeout="x"), "timeout"),
    "a wait of less than nothing": (lambda client: client.jobs.wait_chain(1, timeout=-1), "timeout"),
    "queues of none": (lambda client: client.queues.declare(None), "app"),
    "machines of none": (lambda client: client.machines.declare(None), "app"),
    "a schema of numbers": (lambda client: made(schema=3), "schema"),
    "a task of none": (lambda client: other.find(None), "task"),
    "a queue of lists": (lambda client: other.queue([]), "name"),
    "a machine of none": (lambda client: other.machine(None), "machine"),
    "a workflow of numbers": (lambda client: other.workflow(3), "workflow"),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_a_wrong_type_is_told_by_its_field(case: str) -> None:
    """What isn't of the kind that a call wants is refused by field and fix, before a connection is opened [DW-12]. Red
    when Python's own words for it come from inside."""
    call, field = CALLS[case]
    with Client("postgresql://nobody@db.invalid/none") as client, pytest.raises(errors.InvalidInput) as caught:
        call(client)

    assert (caught.value.field, bool(caught.value.fix)) == (field, True)


def test_a_plain_function_is_not_run_as_an_async_one(db: Database) -> None:
    """A plain function that the async client runs is named, and rolled back. Red when the event loop complains."""
    mistaken: Any = lambda tx: charge.job(1)  # noqa: E731

    async def play() -> None:
        async with AsyncClient(db.url) as client:
            with pytest.raises(errors.Unsupported, match="function: isn't async"):
                await client.run(mistaken)

    asyncio.run(play())


def test_a_bad_job_among_many_writes_none_of_them(db: Database) -> None:
    """What is no job, or contradicts itself, is refused by its place or its option, and nothing is written."""
    with Client(db.url) as client:
        with pytest.raises(errors.InvalidOption, match=r"jobs\[1\]: got Task; give charge.job"):
            client.jobs.enqueue_many([send_receipt.job(order_id=1), charge])  # type: ignore[list-item]
        with pytest.raises(errors.InvalidOption, match="expires: comes before the job is due"):
            client.jobs.enqueue(send_receipt.job(order_id=1), delay=60, expires=30)
        with pytest.raises(errors.InvalidOption, match="retry: retry_on and never_on are code"):
            client.jobs.enqueue(send_receipt.job(order_id=1), retry=Retry(never_on=ValueError))

    assert _nothing(db)
