"""Runs whose worker was lost under them, on a worker of this process: each is driven in a child of its own."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import pytest

from perdure import WorkflowFailed
from perdure.core import limits
from perdure.runtime import memory
from perdure.workflows.model import RunSpec
from tests.rooms.workflows import culprits
from tests.rooms.workflows.stage import Stage

MIB = 1024 * 1024


@pytest.fixture
def suspects(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The stage, with a table for what steps did, wherever they ran."""
    monkeypatch.setenv("TRACES_URL", stage.db.url)
    stage.conn.execute(culprits.TRACE)
    return stage


async def _suspect(stage: Stage, spec: RunSpec, id: str = "r") -> int:
    """A run as a rescue leaves it that couldn't tell whether it had begun; its job."""
    started = await stage.start(spec, id)
    stage.conn.execute("update perdure.job set rescues = 1 where id = %s", [started.job])
    return int(started.job)


def _traces(stage: Stage, run: str = "r") -> Counter[str]:
    return Counter(step for (step,) in stage.rows("select step from trace where run = %s", run))


def _pids(stage: Stage) -> set[int]:
    return {pid for (pid,) in stage.rows("select distinct pid from trace")}


@pytest.mark.parametrize(
    ("spec", "said", "during"),
    [
        (culprits.guilty.run("segfault"), "the child that ran it alone was killed by SIGSEGV", "segfault"),
        (culprits.guilty.run("leave"), "the child that ran it alone ended with exit code 42", "leave"),
        (culprits.guilty.run("hoard"), "it ran alone into its memory limit of ", ""),
        (culprits.guilty.run("hang"), "still running alone after ", "hang"),
        (culprits.deaf.run(), "still running alone after ", "hang"),
    ],
    ids=["segfault", "leave", "hoard", "hang", "deaf"],
)
def test_a_guilty_run_dies_alone(
    suspects: Stage, spec: RunSpec, said: str, during: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a step of a suspect does to its process, it does to its child: the text says what, and in which
    function; the third crash is the last, what the run had recorded before was done once, and the worker goes on
    [OPS-71, KIT-36, OPS-75].

    Red when suspect runs are driven in the worker, when a step fails that has met its child's memory limit, and without
    a bound in time.
    """
    monkeypatch.setattr(memory, "budget_bytes", lambda: 1_200 * MIB)
    monkeypatch.setattr(limits, "SUSPECT_SECONDS", 1.5 if during == "hang" else 900.0)
    monkeypatch.setattr(limits, "SUSPECT_GRACE_SECONDS", 0.3)

    async def play() -> Any:
        job = await _suspect(suspects, spec)
        async with suspects.working(culprits.app):
            run = await suspects.until_state("failed")
            assert await suspects.run(culprits.echo.run(1), "other") == 1
            with pytest.raises(WorkflowFailed):
                await suspects.result()
        return run, suspects.rows("select reason, attempt, error from perdure.jobs where id = %s", job)

    run, [(reason, attempt, error)] = asyncio.run(play())
    assert (reason, attempt) == ("worker_lost", 3)
    assert error.startswith(said), error
    assert error.endswith(f", in tests.rooms.workflows.culprits:{during}\ncrash 3 of 3" if during else "crash 3 of 3")
    assert run.ended_at is not None
    if spec.name == "guilty":
        assert _traces(suspects) == {"first": 1, "second": 1}
        assert os.getpid() not in {pid for (pid,) in suspects.rows("select pid from trace where run = 'r'")}


def test_what_was_done_beside_a_crash_is_recorded(suspects: Stage) -> None:
    """Steps beside the one that ends their child are recorded, though the child is gone, and aren't done again in the
    next one [DW-190]. Red when the child's last records are dropped with it."""

    async def play() -> None:
        await _suspect(suspects, culprits.beside.run())
        async with suspects.working(culprits.app):
            await suspects.until_state("failed")

    asyncio.run(play())
    assert _traces(suspects) == {"first": 1, "second": 1}


def test_an_innocent_run_does_in_a_child_what_it_would_have_done_in_the_worker(suspects: Stage) -> None:
    """Steps in threads, on the loop and in processes, with a context, a retry, a time-out; transactions; gatherings;
    signals, attributes and children: all as in the worker, each effect once, and in a child. The run has lost the mark
    at its end [KIT-36, DW-194]. Red when a suspect run is driven in the worker."""

    async def play() -> Any:
        job = await _suspect(suspects, culprits.innocent.run())
        await suspects.signal("early", "bird")
        async with suspects.working(culprits.app):
            found = await suspects.result()
            await suspects.result("r/echo")
        return job, found

    job, found = asyncio.run(play())
    assert found == {
        "thread": 1, "loop": 2, "process": 3, "crash": "ChildFailed", "context": "innocent/2 4", "tx": "written",
        "gather": [0, 1, 2, 3], "early": "bird", "late": "TimeoutError",
    }  # fmt: skip
    sides = [f"side {each}" for each in range(4)]
    assert _traces(suspects) == dict.fromkeys(["thread", "loop", "tx", "block", *sides], 1)
    assert len({pid for (pid,) in suspects.rows("select pid from trace where run = 'r'")} - {os.getpid()}) == 1
    assert suspects.value("select attributes ->> 'at' from perdure.run where id = 'r'") == "the end"
    assert suspects.rows("select outcome, attempt from perdure.history where id = %s", job) == [("completed", 1)]
    assert suspects.value("select parent is not null from perdure.run where id = 'r/echo'")
