"""What an application sets up before its tasks can be imported is set up in the children of its worker, too."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from perdure import App, Client, Retry, Workflow
from perdure.core import limits
from perdure.jobs.budget import CHILDLESS
from perdure.jobs.model import JobSpec
from tests import forge
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, until, working

BASE = """
from pathlib import Path
ready = False

def is_set_up():
    return ready or Path(__file__).with_name("set_up").exists()
"""
TASKS = """
import os
import base
from perdure import App, Retry
if not base.is_set_up():
    raise RuntimeError("nothing is set up yet")
app = App("needy")

@app.task(retry=Retry(max_attempts=1))
def plain() -> int:
    return os.getpid()

@app.task(retry=Retry(max_attempts=1), run_in="process")
def computing() -> int:
    return os.getpid()
"""
ENTRY = """
import base
base.ready = True
from needy_tasks import app
"""
PROGRAM = """
import asyncio, os, signal, sys
import base
base.ready = True
from needy_tasks import app
from perdure.app.worker import Worker

async def work():
    worker = Worker(app, os.environ["DATABASE_URL"])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()

{guard}
    asyncio.run(work())
"""
PROGRAMS = {"guarded": 'if __name__ == "__main__":', "not guarded": "if True:"}
JOBS = (
    JobSpec(task="plain", payload="{}"),
    JobSpec(task="plain", payload="{}"),
    JobSpec(task="computing", payload="{}"),
)


@pytest.fixture
def needy(tmp_path: Path) -> Path:
    """A folder with a module of tasks that can't be imported before another one was set up."""
    for name, text in {"base": BASE, "needy_tasks": TASKS, "needy": ENTRY}.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def _environment(stage: Stage, folder: Path) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": stage.db.url, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


async def _enqueued(stage: Stage) -> list[int]:
    """A suspect, its mate and a process task, before there is a worker that could take the first for no suspect."""
    ids = await stage.enqueue(*JOBS)
    await stage.rows("update perdure.job set rescues = 1 where id = %s returning id", ids[0])
    return ids


async def _completed_in_children(stage: Stage, ids: list[int], pid: int) -> None:
    """They complete in their only attempt, the suspect and the process task in processes of their own."""
    suspect, mate, computing = await stage.until_in("history", *ids)

    assert [job.outcome for job in (suspect, mate, computing)] == ["completed"] * 3
    assert mate.result == pid
    assert pid not in (suspect.result, computing.result)


def _imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of tasks, set up in this process and in no child of it."""
    monkeypatch.syspath_prepend(str(folder))
    for name in ("base", "needy_tasks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(import_module("base"), "ready", True)
    return import_module("needy_tasks")


async def test_children_import_the_module_in_which_the_app_was_found_first(stage: Stage, needy: Path) -> None:
    """An app whose module sets up what its tasks' module needs, as `django.setup()` does, runs its suspects and process
    tasks as well as any: children import that module before those of the tasks. Red when only those are imported."""
    ids = await _enqueued(stage)
    with (needy / "log").open("w") as log:
        environment = _environment(stage, needy)
        process = forge.start(
            ["worker", "needy:app"], cwd=needy, env=environment, stdout=log.fileno(), stderr=log.fileno()
        )
        try:
            await _completed_in_children(stage, ids, process.pid)
        finally:
            process.terminate()
            assert process.wait(BOUND_SECONDS) == 0, (needy / "log").read_text()


@pytest.mark.parametrize("guard", PROGRAMS)
async def test_children_import_the_program_that_their_tasks_cannot_be_without(
    stage: Stage, needy: Path, guard: str
) -> None:
    """A program of one's own that sets things up and makes a Worker has them set up in children, where the modules of
    tasks can't be imported otherwise; a program without the usual guard starts no second worker there.

    Red when the program isn't imported, and when a worker may run while it is.
    """
    program = needy / "program.py"
    program.write_text(PROGRAM.format(guard=PROGRAMS[guard]))
    ids, environment = await _enqueued(stage), _environment(stage, needy)
    process = await asyncio.create_subprocess_exec(sys.executable, str(program), cwd=needy, env=environment)
    try:
        await _completed_in_children(stage, ids, process.pid)
        assert await stage.value("select count(*) from perdure.worker") == 1
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), BOUND_SECONDS) == 0


async def test_a_job_whose_task_no_child_can_import_is_charged_nothing(
    stage: Stage, needy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A suspect and a process task whose child can't import them are put off, uncharged, with an error in the log that
    says what was raised; once they can be imported they complete in their only attempt, and the suspect stays one until
    then. Red when the child's error is taken for the handler's, which makes both of them dead."""
    monkeypatch.setattr(limits, "SUSPECT_PAUSE_SECONDS", 0.05)
    app = _imported(needy, monkeypatch).app
    suspect, computing = await stage.enqueue(JOBS[0], JOBS[2])
    await stage.rows("update perdure.job set rescues = 1 where id = %s returning id", suspect)
    async with working(stage.db, app):
        await until(lambda: all(f"job {id} (" in caplog.text for id in (suspect, computing)))
        (needy / "set_up").touch()
        jobs = await stage.until_in("history", suspect, computing)

    assert [(job.outcome, job.attempt) for job in jobs] == [("completed", 1)] * 2
    assert (
        "could not begin in a child process, and is tried again: a child process can't import needy_tasks:"
        in caplog.text
    )
    assert "RuntimeError: nothing is set up yet" in caplog.text
    for id, ending in ((suspect, "returned"), (computing, "snooze")):
        first = (await stage.attempts(id))[0]
        assert (first.ending, first.attempt) == (ending, 0)
        assert str(first.error).startswith(CHILDLESS)


async def test_a_step_that_no_child_can_import_is_charged_nothing(
    stage: Stage, needy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A step in a process, whose child can't import its task, puts its run off with the step's only attempt unspent,
    and the run completes once the task can be imported. Red when that is a failure of the step."""
    monkeypatch.setattr(limits, "SUSPECT_PAUSE_SECONDS", 0.05)
    tasks = _imported(needy, monkeypatch)
    app: App = tasks.app

    @app.workflow
    async def report(wf: Workflow) -> int:
        pid: int = await wf.step("compute", tasks.computing, retry=Retry(max_attempts=1))
        return pid

    with Client(stage.db.url) as client:
        await asyncio.to_thread(client.workflows.start, report.run(), id="report")
        async with working(stage.db, app):
            await until(lambda: "could not begin in a child process" in caplog.text)
            (needy / "set_up").touch()
            pid = await asyncio.to_thread(client.workflows.wait, "report", timeout=BOUND_SECONDS)

    assert pid != os.getpid()
