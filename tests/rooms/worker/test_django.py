"""Handlers that use Django's connections: what its requests do for those is done around each handler."""

from __future__ import annotations

import asyncio
import os
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path

import pytest

from perdure.jobs.loops.cleaner import Cleaner
from perdure.jobs.model import JobSpec
from perdure.jobs.view import Job
from tests import forge
from tests.conformance.ways import set_up_django
from tests.rooms.worker import children
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, working

SETTINGS = """
import os
from psycopg.conninfo import conninfo_to_dict

found = conninfo_to_dict(os.environ["DATABASE_URL"])
SECRET_KEY = "only for this test"
USE_TZ = True
INSTALLED_APPS = ["goods"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": found["dbname"], "USER": found["user"],
        "HOST": found["host"], "PORT": found.get("port", ""), "OPTIONS": {"application_name": "goods"},
        "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True,
    }
}
"""
MODELS = """
from django.db import models

class Good(models.Model):
    class Meta:
        managed = False
        db_table = "good"
"""
JOBS = """
from asgiref.sync import sync_to_async
from django.db import connection
from goods.models import Good
from perdure import App, Retry

app = App("goods")
once = {"retry": Retry(max_attempts=1)}

def session():
    Good.objects.count()
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]

@app.task(**once)
def thread() -> int:
    return session()

@app.task(run_in="process", **once)
def process() -> int:
    return session()

@app.task(**once)
async def loop() -> int:
    await Good.objects.acount()
    return await sync_to_async(session)()
"""
ENTRY = "import django\ndjango.setup()\nfrom goods.jobs import app\n"
PROGRAM = """
import os, sys
import django
django.setup()
from django.db import connection
from goods.jobs import app, thread
from perdure import Client, testing

url = os.environ["DATABASE_URL"]
with Client(url) as client:
    client.jobs.enqueue_many(thread.job() for _ in range(10))
testing.work_off(app, url)
with connection.cursor() as cursor:
    print(*sorted({job.place for job in Client(url).jobs.list()}), flush=True)
sys.stdin.read()
"""
MANAGED = """
if __name__ == "__main__":
    import django
    django.setup()
    from perdure.cli import main
    main(["worker", "goods.jobs:app", "--queues", "default:1"])
"""
SESSIONS = "select count(*) from pg_stat_activity where application_name = 'goods' and datname = current_database()"
GONE = "select not exists (select from pg_stat_activity where pid = %s)"


@pytest.fixture
def project(stage: Stage, tmp_path: Path) -> Path:
    """A project of Django's, whose tasks use its models."""
    stage.conn.execute("create table good (id bigint primary key)")
    (tmp_path / "goods").mkdir()
    files = {
        "goods/__init__": "",
        "goods/models": MODELS,
        "goods/jobs": JOBS,
        "site_settings": SETTINGS,
        "entry": ENTRY,
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def _environment(stage: Stage, project: Path) -> dict[str, str]:
    path = os.pathsep.join([str(project), *sys.path])
    mine = {"DATABASE_URL": stage.db.url, "DJANGO_SETTINGS_MODULE": "site_settings", "PYTHONPATH": path}
    return {**os.environ, **mine}


Ends = Callable[[str], Awaitable[Job]]


@asynccontextmanager
async def _working(stage: Stage, project: Path, app: str) -> AsyncIterator[Ends]:
    """A worker process with a single slot; what a job of a task is when it has ended."""
    with (project / "log").open("w") as log:
        process = forge.start(
            ["worker", app, "--queues", "default:1"], cwd=project, env=_environment(stage, project),
            stdout=log.fileno(), stderr=log.fileno(),
        )  # fmt: skip

    async def ends(task: str) -> Job:
        (id,) = await stage.enqueue(JobSpec(task=task, payload="{}"))
        await stage.until_true("select place in ('history', 'dead') from perdure.jobs where id = %s", id)
        job = await stage.job(id)
        assert job.outcome == "completed", (job.error, (project / "log").read_text())
        return job

    try:
        yield ends
    finally:
        process.terminate()
        assert process.wait(BOUND_SECONDS) == 0, (project / "log").read_text()


async def test_django_s_connections_live_as_long_as_in_its_requests(stage: Stage, project: Path) -> None:
    """A connection that a thread, or a child process, has kept for its next job is looked at before that, so that no
    job dies of one that has broken; those of a coroutine end with its job.

    Red when nothing is done around the functions of threads, of children, or of coroutines.
    """
    async with _working(stage, project, "entry:app") as ends:
        for task in ("thread", "process"):
            kept = (await ends(task)).result
            assert (await ends(task)).result == kept
            await stage.rows("select pg_terminate_backend(%s)", kept)
            await stage.until_true(GONE, kept)
            assert (await ends(task)).result != kept
        await stage.until_true(GONE, (await ends("loop")).result)


async def test_a_worker_that_ends_leaves_no_connection_of_django_s(stage: Stage, project: Path) -> None:
    """After `perdure.testing.work_off` no session of its threads is left in a process that goes on, so that a test's
    database can be dropped. Red when a worker leaves its threads' connections to the interpreter."""
    program = project / "program.py"
    program.write_text(PROGRAM)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), cwd=project, env=_environment(stage, project),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), BOUND_SECONDS) == b"history\n"
        await stage.until_true(f"select ({SESSIONS}) = 1")
    finally:
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), BOUND_SECONDS) == 0


async def test_a_command_of_django_s_runs_a_worker_whose_children_have_it_set_up(stage: Stage, project: Path) -> None:
    """A worker that is started where Django is set up already, as by `manage.py`, and whose module doesn't see to that,
    runs process tasks and suspects. Red when children aren't told to set Django up."""
    program = project / "manage.py"
    program.write_text(MANAGED)
    ids = await stage.enqueue(*[JobSpec(task=task, payload="{}") for task in ("thread", "process")])
    await stage.rows("update perdure.job set rescues = 1 where id = %s returning id", ids[0])
    environment = _environment(stage, project)
    process = await asyncio.create_subprocess_exec(sys.executable, str(program), cwd=project, env=environment)
    try:
        jobs = await stage.until_in("history", *ids)
        assert [job.outcome for job in jobs] == ["completed"] * 2
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), BOUND_SECONDS) == 0


async def test_settings_made_by_hand_are_no_child_s(stage: Stage) -> None:
    """Where Django was set up in the worker's process alone, with settings that no module has, children run what they
    are given as it is. Red when they look for connections of a Django without settings."""
    set_up_django()
    (id,) = await stage.enqueue(children.whose_process.job())
    async with working(stage.db, children.app):
        (job,) = await stage.until_in("history", id)

    assert job.outcome == "completed"
    assert job.result != os.getpid()


def test_what_was_called_is_forgotten() -> None:
    """A function that is made anew for each call of a step isn't kept by what is done around it, which is as much a
    coroutine's as the function is. Red when what has been wrapped is remembered."""
    set_up_django()
    cleaner = Cleaner()

    async def waits() -> None: ...

    def works() -> None: ...

    known = weakref.ref(waits), weakref.ref(works)
    assert iscoroutinefunction(cleaner.around(waits))
    assert not iscoroutinefunction(cleaner.around(works))
    del waits, works
    assert [each() for each in known] == [None, None]
