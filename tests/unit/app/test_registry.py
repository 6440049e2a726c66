"""App and Task: a task stays a function, and makes checked jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from perdure import App, JobSpec, Retry
from perdure.core.errors import InvalidArgument, InvalidOption, InvalidTask, UnknownTask
from perdure.jobs.handler import CONTEXT_MARK

app = App("shop")


class Context:
    """Stands for what the worker fills in."""


setattr(Context, CONTEXT_MARK, True)


@app.task(queue="mail", retry=Retry(max_attempts=5), timeout=30, priority=2, tags=("mail",), expires=timedelta(days=1))
async def send_receipt(order_id: int, ctx: Context | None = None) -> str:
    """Send it."""
    return f"receipt {order_id}"


@app.task
def count(items: list[str]) -> int:
    """Count them."""
    return len(items)


def plain(order_id: int) -> None:
    """Do nothing, in a thread."""


async def waiting(order_id: int) -> None:
    """Do nothing, on the loop."""


def _several(order_id: int) -> Iterator[int]:
    yield 1


async def _many(order_id: int) -> AsyncIterator[int]:
    yield 1


def test_a_task_stays_a_function() -> None:
    """Calling a task runs it here, and it keeps its name and its docstring."""
    assert asyncio.run(send_receipt(9182)) == "receipt 9182"
    assert count(["a", "b"]) == 2
    assert (send_receipt.__name__, send_receipt.__doc__) == ("send_receipt", "Send it.")


def test_a_job_carries_what_its_task_declares() -> None:
    """A job has its task's queue, priority, tags and expiry; retry and time-out stay with the code that runs it."""
    assert send_receipt.job(order_id=9182) == JobSpec(
        task="send_receipt",
        payload='{"order_id":9182}',
        queue="mail",
        priority=2,
        tags=("mail",),
        expires=timedelta(days=1),
    )
    assert count.job(["a"]) == JobSpec(task="count", payload='{"items":["a"]}')


def test_arguments_are_checked_when_the_job_is_made() -> None:
    """A wrong argument is refused by ``job``, before there is anything to enqueue."""
    wrong: Any = "9182"
    with pytest.raises(InvalidArgument, match="order_id: expected int, got str"):
        send_receipt.job(order_id=wrong)


def test_handlers_run_where_they_belong() -> None:
    """Async functions run on the loop, plain ones in threads, and either in a process when told so."""
    found = App("a")

    assert (send_receipt.run_in, count.run_in) == ("loop", "thread")
    assert found.task(run_in="process")(plain).run_in == "process"
    assert found.task(run_in="process")(waiting).run_in == "process"


def test_the_context_is_found_by_its_annotation() -> None:
    """A parameter annotated with the context, optional or not, is no argument of the job."""
    assert (send_receipt.signature.context, send_receipt.signature.names) == ("ctx", ("order_id",))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", "a b"),
        ("queue", "mail:10"),
        ("retry", 3),
        ("timeout", 0),
        ("run_in", "fibre"),
        ("run_in", "loop"),
        ("at_most_once", "yes"),
        ("priority", 11),
        ("tags", "mail"),
        ("expires", -1),
        ("expires", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_bad_declaration_is_refused_by_name(option: str, value: Any) -> None:
    """Each option of a task outside its bounds gives one error that names it and the fix."""
    with pytest.raises(InvalidOption) as caught:
        App("a").task(**{option: value})(plain)

    assert caught.value.field == option
    assert caught.value.fix


@pytest.mark.parametrize("function", [lambda: None, partial(plain, 1), int, 3, _several, _many])
def test_what_is_no_handler_is_refused(function: Any) -> None:
    """Something without a name, a class and a generator can't be tasks, and the error says why."""
    with pytest.raises(InvalidTask):
        App("a").task(function)


def test_an_async_function_is_kept_off_threads() -> None:
    """A thread can't run an async function."""
    with pytest.raises(InvalidOption, match=r'run_in: .thread. can.t run an async function; give "loop" or "process"'):
        App("a").task(run_in="thread")(waiting)


def test_a_name_is_taken_once() -> None:
    """Two tasks of one app can't share a name, and another name helps."""
    found = App("a")
    first: Callable[..., Any] = found.task(plain)
    with pytest.raises(InvalidTask, match="plain: the app a already has a task of this name"):
        found.task(plain)

    second = found.task(name="plain.2")(plain)
    assert dict(found.tasks) == {"plain": first, "plain.2": second}


def test_a_task_is_found_by_name() -> None:
    """``find`` returns the task, and a name that is nearly one is answered with the near ones."""
    assert app.find("count") is count
    with pytest.raises(UnknownTask, match="no task 'send_recipt'; there is send_receipt"):
        app.find("send_recipt")
    with pytest.raises(UnknownTask, match="declares no task"):
        App("a").find("x")
