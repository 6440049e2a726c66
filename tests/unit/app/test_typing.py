"""What type checkers make of tasks: the types asserted and the errors ignored here are asked of mypy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import assert_type

import pytest

from perdure import App, Context
from perdure.core.errors import InvalidArgument, MissingArgument, UnknownArgument
from perdure.jobs.model import JobSpec
from tests.tidy.source import ROOT

app = App("shop")


@app.task
def bare(order_id: int) -> str:
    """Without a context."""
    return f"order {order_id}"


@app.task(queue="mail")
async def called(order_id: int, *, note: str = "") -> str:
    """The same, declared with an option."""
    return note


@app.task
def bare_in_context(ctx: Context, order_id: int) -> str:
    """With a context first."""
    return f"order {order_id}"


@app.task(queue="mail")
async def called_in_context(ctx: Context, order_id: int, *, note: str = "") -> str:
    """The same, declared with an option."""
    return note


@app.task
def nothing_else(ctx: Context) -> None:
    """A context alone."""


@app.task
def takes_anything(value: object, seconds: float) -> None:
    """Its first parameter accepts a context, and isn't one."""


async def test_a_direct_call_is_the_functions() -> None:
    """Calling a task is calling its function, with the context first where it has one; the result keeps its type."""
    ctx = Context.__new__(Context)

    assert assert_type(bare(1), str) == assert_type(bare_in_context(ctx, 1), str) == "order 1"
    assert assert_type(await called(1, note="paid"), str) == "paid"
    assert assert_type(await called_in_context(ctx, 1, note="paid"), str) == "paid"


def test_jobs_are_typed_by_the_arguments_alone() -> None:
    """A job is made without the context, however its task was declared; a parameter that merely accepts a context is
    an argument.
    """
    jobs = [
        bare.job(order_id=1),
        called.job(1, note="paid"),
        bare_in_context.job(order_id=1),
        called_in_context.job(1, note="paid"),
        nothing_else.job(),
        takes_anything.job({"a": 1}, seconds=0.5),
    ]

    assert [job.payload for job in assert_type(jobs, list[JobSpec])] == [
        *['{"order_id":1}', '{"order_id":1,"note":"paid"}'] * 2, "{}", '{"value":{"a":1},"seconds":0.5}',
    ]  # fmt: skip


def test_wrong_arguments_are_seen_before_they_are_refused() -> None:
    """What is refused as a job is made is an error for type checkers, of tasks with a context as of those without."""
    with pytest.raises(MissingArgument):
        bare.job()  # type: ignore[call-arg]
    with pytest.raises(MissingArgument):
        bare_in_context.job()  # type: ignore[call-arg]
    with pytest.raises(InvalidArgument):
        called.job("one")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        called_in_context.job("one")  # type: ignore[arg-type]
    with pytest.raises(UnknownArgument):
        nothing_else.job(order_id=1)  # type: ignore[call-arg]


def test_mypy_agrees_with_this_file() -> None:
    """Every type asserted here is the one mypy infers, and every error ignored here is one. Red when a task that takes
    a context is typed like any other.
    """
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", str(Path(__file__).relative_to(ROOT))],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
