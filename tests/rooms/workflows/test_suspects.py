"""Runs whose worker was lost under them, on a worker of this process: each is driven in a child of its own."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from perdure import App, Workflow
from perdure.core import limits
from perdure.jobs.loops import isolator
from perdure.jobs.loops.minder import cores
from perdure.runtime import memory
from perdure.runtime.nursery import Child
from perdure.workflows.loops import driver, host
from perdure.workflows.model import RunSpec
from perdure.workflows.talk import Told
from tests.rooms.worker.stage import BOUND_SECONDS, runs, until
from tests.rooms.workflows import culprits
from tests.rooms.workflows.stage import Stage

BUDGET = 3_500 * 1024 * 1024
"""Of memory: enough for a child for each of a few suspects."""


@pytest.fixture
def suspects(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The stage, with a table for what steps did, wherever they ran."""
    monkeypatch.setenv("TRACES_URL", stage.db.url)
    monkeypatch.setenv("WORKER_PID", str(os.getpid()))
    stage.conn.execute(culprits.TRACE)
    return stage


async def _suspect(stage: Stage, spec: RunSpec, id: str = "r") -> int:
    """A run as a rescue leaves it that couldn't tell whether it had begun; its job."""
    started = await stage.start(spec, id)
    stage.conn.execute("update perdure.job set rescues = 1 where id = %s", [started.job])
    return int(started.job)


def _traces(stage: Stage, run: str = "r") -> Counter[str]:
    return Counter(step for (step,) in stage.rows("select step from trace where run = %s", run))


def _whose(stage: Stage, *runs: str) -> set[int]:
    """The processes that the steps of these runs ran in."""
    return {pid for (pid,) in stage.rows("select distinct pid from trace where run = any(%s)", list(runs))}


GUILTY = {
    "segfault": "the child that ran it alone was killed by SIGSEGV, in tests.rooms.workflows.culprits:segfault",
    "leave": "the child that ran it alone ended with exit code 42, in tests.rooms.workflows.culprits:leave",
    "hoard": "it ran alone into its memory limit of {:,} bytes",
    "hoard_apart": "it ran alone into its memory limit of {:,} bytes",
    "hoard_in": "it ran alone into its memory limit of {:,} bytes",
    "hoard_between": "it ran alone into its memory limit of {:,} bytes",
    "hang": "still running alone after ",
}


POINTS = ("before_step", "after_step", "before_record", "after_record", "before_commit", "after_commit")


def test_guilty_runs_die_alone(suspects: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a step of a suspect does to its process, it does to its child, also by the memory it takes in a process
    of its own: the text says what, and in which function; the third crash is the last, what the run had recorded before
    was done once, and the worker goes on [OPS-71, KIT-36, OPS-75].

    Red when suspect runs are driven in the worker, when a step fails that has met its child's memory limit, or the run
    whose code has, and when a child that is deaf isn't killed.
    """
    monkeypatch.setattr(memory, "budget_bytes", lambda: BUDGET)
    monkeypatch.setattr(limits, "SUSPECT_GRACE_SECONDS", 0.3)
    bytes_max = isolator.share(BUDGET, cores() * limits.SUSPECTS_PER_CORE, cores())[1]

    async def play() -> None:
        for kind in GUILTY:
            await _suspect(suspects, culprits.guilty.run(kind, timeout=0.2 if kind == "hang" else None), kind)
        async with suspects.working(culprits.app):
            for kind in GUILTY:
                assert (await suspects.until_state("failed", kind)).ended_at is not None
            assert await suspects.run(culprits.echo.run(1), "other") == 1

    asyncio.run(play())
    query = (
        "select r.id, j.reason, j.attempt, j.error from perdure.jobs j join perdure.run r on r.job = j.id "
        "where j.place = 'dead'"
    )
    found = {id: (reason, attempt, error) for id, reason, attempt, error in suspects.rows(query)}
    assert {id: each[:2] for id, each in found.items()} == dict.fromkeys(GUILTY, ("worker_lost", 3))
    for kind, said in GUILTY.items():
        assert found[kind][2].startswith(said.format(bytes_max)), found[kind]
        assert found[kind][2].endswith("crash 3 of 3")
        assert _traces(suspects, kind) == {"first": 1, "second": 1}
    assert _whose(suspects, "other") == {os.getpid()}
    assert os.getpid() not in _whose(suspects, *GUILTY)


def test_a_run_that_hangs_alone_is_given_up(suspects: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step without a time-out may be silent for as long as any suspect; then its child is killed, and that is a
    crash. Red without a bound in time."""
    monkeypatch.setattr(limits, "SUSPECT_SECONDS", 4.0)
    # A machine that stands still for so long may have it killed before that step, once or twice.
    hung = "from perdure.attempt where ending = 'retry' and strpos(error, 'culprits:hang') > 0"

    async def play() -> Any:
        await _suspect(suspects, culprits.guilty.run("hang"))
        async with suspects.working(culprits.app):
            await suspects.until_true(f"select exists (select {hung})")

    asyncio.run(play())
    error = suspects.value(f"select error {hung}")
    assert error.startswith("still running alone after ")
    assert "its child was killed, in tests.rooms.workflows.culprits:hang\ncrash " in error
    assert suspects.value("select crashes > 0 from perdure.job")


def test_a_process_that_hangs_for_a_run_in_a_child_is_given_up(
    suspects: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step in a process that has no time-out may take as long as any suspect; then its process is killed, and the
    attempt of the step has failed. Red without a bound in time: its run stays for ever."""
    monkeypatch.setattr(driver, "limits", SimpleNamespace(SUSPECT_SECONDS=2.0))  # its child may be silent for longer

    async def play() -> None:
        await _suspect(suspects, culprits.guilty.run("hang_apart"))
        async with suspects.working(culprits.app):
            await suspects.until_true(
                "select exists (select from perdure.step where name = 'kill' and state in ('retry', 'failed') "
                "and starts_with(outcome ->> 'message', 'still running after 2 s'))"
            )

    asyncio.run(play())
    assert suspects.rows("select from perdure.attempt where ending = 'retry'") == []


def test_what_was_done_beside_a_crash_is_recorded(suspects: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child had asked to be recorded when it died is recorded, also what was still waiting for its turn behind
    an entry that a lock held up, and isn't done again in the next child [DW-190]. Red when that is dropped with the
    child."""
    other = suspects.db.connect()
    monkeypatch.setattr(host, "LAST_RECORDS_SECONDS", BOUND_SECONDS)  # the lock goes when the child is gone

    async def play() -> None:
        job = await _suspect(suspects, culprits.beside.run())
        other.execute("begin")
        other.execute("select from perdure.job where id = %s for update", [job])
        async with suspects.working(culprits.app):
            await suspects.until_true("select exists (select from trace where step = 'left')")
            (child,) = _whose(suspects, "r")
            await until(lambda: not runs(child))
            other.execute("rollback")
            await suspects.result()

    asyncio.run(play())
    assert _traces(suspects) == {"first": 1, "second": 1, "left": 1}
    assert suspects.value("select count(*) from perdure.attempt where ending = 'retry'") == 1


def test_an_innocent_run_does_in_a_child_what_it_would_have_done_in_the_worker(
    suspects: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps in threads, on the loop and in processes, with a context, a retry, a time-out; transactions; gatherings;
    signals, attributes, children in a context, and compensations when it fails: all as in the worker, each effect once,
    and in a child. The run has lost the mark at its end [KIT-36, DW-194]. Red when a suspect run is driven in the
    worker, and when what is asked of the worker isn't done in the context of the code that asks."""
    monkeypatch.setattr(limits, "SUSPECT_GRACE_SECONDS", BOUND_SECONDS)  # its step is cancelled, and not killed

    async def play() -> Any:
        job = await _suspect(suspects, culprits.innocent.run())
        await suspects.signal("early", "bird")
        await _suspect(suspects, culprits.fails.run(), "failing")
        async with suspects.working(culprits.app):
            found = await suspects.result()
            await suspects.result("r/echo")
            assert "ValueError: no" in str((await suspects.until_state("compensated", "failing")).error)
        return job, found

    job, found = asyncio.run(play())
    assert found == {
        "thread": 1, "loop": 2, "process": 3, "crash": "ChildFailed", "context": "innocent/2 4", "tx": "written",
        "gather": [0, 1, 2, 3], "early": "bird", "late": "TimeoutError",
    }  # fmt: skip
    sides = [f"side {each}" for each in range(4)]
    assert _traces(suspects) == dict.fromkeys(["thread", "loop", "tx", "block", *sides], 1)
    assert len(_whose(suspects, "r") - {os.getpid()}) == 1
    assert suspects.value("select attributes ->> 'at' from perdure.run where id = 'r'") == "the end"
    assert suspects.rows("select outcome, attempt from perdure.history where id = %s", job) == [("completed", 1)]
    assert _traces(suspects, "failing") == {"do": 1, "undo do": 1}
    assert os.getpid() not in _whose(suspects, "failing")
    carried = "select h.context ->> 'tenant', r.parent from perdure.history h join perdure.run r on r.job = h.id"
    assert suspects.rows(f"{carried} where r.id = 'r/echo'") == [("acme", job)]


def test_a_child_may_die_anywhere(suspects: Stage) -> None:
    """A child that is killed at the second passing of a point is followed by another, which does nothing again that is
    recorded, and so comes further: the run ends with its result and no worker is lost. Rows stand together with the
    record of their transaction [DW-190, DW-194]. Red when an entry is acknowledged to the child before it is committed,
    and when a transaction in a child commits without its record."""

    async def play() -> None:
        for point in POINTS:
            await _suspect(suspects, culprits.four.run(point), point)
        async with suspects.working(culprits.app):
            for point in POINTS:
                assert await suspects.result(point) == [1, "written", 3]

    asyncio.run(play())
    again = (
        "select t.run, t.step from trace t join perdure.run r on r.id = t.run "
        "join perdure.step s on s.run = r.job and s.name = t.step where t.at > s.ended_at"
    )
    assert suspects.rows(again) == []
    for point in POINTS:
        counts = _traces(suspects, point)
        assert (counts["tx"], counts["block"]) == (1, 1)
        assert counts["a"] + counts["b"] == (3 if point in ("after_step", "before_record") else 2)
    assert suspects.value("select count(*) from perdure.attempt where ending = 'retry'") == len(POINTS)


def test_a_run_that_is_put_to_wait_loses_the_mark(suspects: Stage) -> None:
    """A suspect that parks, for a retry, a child, a moment or a signal, has shown that it is innocent: it goes on in
    the worker. Red when what waits stays a suspect."""

    async def play() -> Any:
        job = await _suspect(suspects, culprits.waits.run())
        async with suspects.working(culprits.app):
            await suspects.until_true("select count(*) > 0 from trace where step = 'fail'")
            await suspects.signal("go", "now")
            found = await suspects.result()
        return job, found

    job, found = asyncio.run(play())
    assert found == "third 3 now"
    assert _traces(suspects) == {"first": 1, "fail": 3}
    [(first,), *others] = suspects.rows("select pid from trace where step in ('first', 'fail') order by at")
    assert first != os.getpid()
    assert [pid for (pid,) in others] == [first, os.getpid(), os.getpid()]
    assert suspects.rows("select outcome, attempt from perdure.history where id = %s", job) == [("completed", 1)]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Is set when a child has been sent word that its worker drains."""
    told, send = asyncio.Event(), Child.send

    async def noted(self: Child, message: bytes) -> None:
        await send(self, message)
        if message == pickle.dumps(Told(stopping=True, cancelled=False)):
            told.set()

    monkeypatch.setattr(Child, "send", noted)
    return told


@pytest.mark.parametrize("patience", [30.0, 0.1])
def test_a_drain_gives_a_suspect_run_back(suspects: Stage, told: asyncio.Event, patience: float) -> None:
    """SIGTERM lets a run in a child end the step it is in, records it, and gives it back before the next one; past the
    deadline its child is killed. Nobody is charged, it stays a suspect, and the next worker ends it in a child, with
    one effect of what was recorded [OPS-77]. Red when a child isn't told that its worker drains."""

    async def play() -> Any:
        job = await _suspect(suspects, culprits.lingers.run())
        async with suspects.working(culprits.app, drain_seconds=patience) as worker:
            await suspects.until_true("select count(*) = 1 from trace")
            if patience > 1:
                worker.stop()
                await asyncio.wait_for(told.wait(), BOUND_SECONDS)
                await suspects.ask(culprits.trace, "r", "go")
        query = "select place, attempt, rescues, (select count(*) from perdure.step) from perdure.jobs where id = %s"
        assert suspects.rows(query, job) == [("ready", 0, 1, int(patience > 1))]
        if patience < 1:
            await suspects.ask(culprits.trace, "r", "go")
        async with suspects.working(culprits.app):
            return await suspects.result()

    assert asyncio.run(play()) == "done"
    assert _traces(suspects) == {"linger": 1 if patience > 1 else 2, "go": 1, "after": 1}
    pids = suspects.rows("select pid from trace where step <> 'go' order by at")
    assert (os.getpid(),) not in pids
    assert len(set(pids)) == 2


def test_a_suspect_run_hears_of_its_cancel_in_the_child(suspects: Stage) -> None:
    """A step that asks its context whether its job is cancelled hears of it in a child, too; the run is told at its
    next step, and compensated. Red when the worker doesn't pass that on."""

    async def play() -> None:
        await _suspect(suspects, culprits.heeds.run())
        async with suspects.working(culprits.app):
            await suspects.until_true("select count(*) = 1 from trace")
            await suspects.ask(suspects.client.workflows.cancel, "r", reason="not wanted")
            await suspects.until_state("cancelled")

    asyncio.run(play())
    assert _traces(suspects) == {"heed": 1, "heeded": 1, "undone": 1}
    assert os.getpid() not in _whose(suspects, "r")


def test_a_run_in_a_child_that_is_somebody_else_s_now_goes_no_further(suspects: Stage) -> None:
    """What a child records goes through the fence: when the run has moved on to another generation the entry is
    refused, the child's code never hears that it was taken, and the next step isn't begun [DW-193]. Red when the worker
    acknowledges an entry that it hasn't written."""

    async def play() -> None:
        job = await _suspect(suspects, culprits.lingers.run())
        async with suspects.working(culprits.app) as worker:
            await suspects.until_true("select count(*) = 1 from trace")
            suspects.conn.execute("update perdure.job set generation = generation + 1 where id = %s", [job])
            await suspects.ask(culprits.trace, "r", "go")
            await until(lambda: worker.gauges()["suspects"]["running"] == 0)

    asyncio.run(play())
    assert _traces(suspects) == {"linger": 1, "go": 1}
    assert suspects.value("select count(*) from perdure.step") == 0


def test_every_version_is_found_by_a_child_and_what_is_not_is_driven_in_the_worker(suspects: Stage) -> None:
    """A child finds a version whose name in its module is another's by now. A workflow that stands inside a function
    can't be found, and is driven in the worker, as ever."""
    local = App("local")

    @local.workflow
    async def inner(wf: Workflow) -> int:
        return await wf.step("whose", os.getpid)

    async def play() -> tuple[int, int]:
        await _suspect(suspects, culprits.first_elder.run(), "elder")
        async with suspects.working(culprits.app):
            elder = await suspects.result("elder")
        await _suspect(suspects, inner.run(), "inner")
        async with suspects.working(local):
            return elder, await suspects.result("inner")

    elder, inner_pid = asyncio.run(play())
    assert elder not in (os.getpid(), 0)
    assert inner_pid == os.getpid()
