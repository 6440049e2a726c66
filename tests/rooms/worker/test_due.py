"""What a worker promotes: everything that is due, also what shows up long after its time."""

from __future__ import annotations

import pytest

from perdure.app.registry import App
from perdure.jobs import due
from perdure.jobs.ops import enqueue, queues
from perdure.pg.drive import drive
from tests.rooms.worker.stage import Stage, until, working


async def test_a_job_that_commits_long_after_it_was_due_is_started(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that scheduled a job before the worker started, and commits when the worker looks past its due
    time, loses nothing: the job is promoted and runs. Red when nobody watches the writers of ``scheduled``."""
    monkeypatch.setattr(due, "SLACK_MICROS", 0)
    app = App("a")

    @app.task
    async def work() -> str:
        return "done"

    await stage.ask(queues.ensure(["default"]))
    late = stage.db.connect()
    late.autocommit = False
    (id,) = drive(late, enqueue.enqueue([work.job().options(delay=0.2)]))
    moment = late.execute(
        "select (extract(epoch from max(run_at)) * 1000000)::bigint from perdure.scheduled"
    ).fetchone()
    assert moment is not None
    passed = "select clock_timestamp() > max(run_at) from perdure.scheduled"
    await until(lambda: late.execute(passed).fetchone() == (True,))  # the worker's first look is to pass it
    async with working(stage.db, app) as worker:
        await until(lambda: worker._chores.due.start > moment[0])
        late.commit()
        await stage.until_in("history", id)
