"""A queue that keeps its finished jobs for less long than history does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perdure import App
from perdure.app.worker import Worker
from perdure.core.errors import InvalidOption
from perdure.jobs import bounds
from perdure.jobs.ops.admission import declare
from perdure.jobs.ops.chores import forget_finished
from tests.rooms.jobs.stage import Stage

FILL = """
insert into perdure.history (id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, payload)
select row_number() over (), now(), (current_date - day + time '12:00') at time zone 'UTC', q.id * 4096 + 5, 0, 1, 0,
       'completed', q.name, '{}'
from generate_series(0, 9) as d(day), generate_series(1, 5), perdure.queue q
"""


def test_a_queue_forgets_its_finished_jobs_by_the_day(stage: Stage) -> None:
    """Finished jobs of a queue with a retention of three days are gone when the fourth day after theirs has begun, in
    small batches that go on where the last one ended; those of other queues stay, and so does everything younger."""
    stage.main.sql("set timezone = 'UTC'")
    options = {"max_depth": None, "max_age": None, "when_full": None, "deadline": None}
    for name, retention in (("mail", timedelta(days=3)), ("other", None)):
        rule = bounds.rule(name, **options, retention=retention)  # type: ignore[arg-type]
        stage.main.run(declare([rule], "shop"))
    stage.main.sql(FILL)

    rounds = 1
    while stage.main.run(forget_finished(14, limit=4)) == 4:
        rounds += 1
    kept = stage.main.sql(
        "select task, count(*)::int, max(current_date - (finished_at at time zone 'UTC')::date) from perdure.history "
        "group by task order by task"
    )

    assert kept == [("default", 50, 9), ("mail", 20, 3), ("other", 50, 9)]
    assert rounds > 20
    assert stage.main.run(forget_finished(14)) == 0


def test_no_queue_keeps_longer_than_its_worker() -> None:
    """A retention of more days than the worker keeps history for is refused before it starts: it couldn't be kept."""
    app = App("shop")
    app.queue("mail", retention=timedelta(days=30))
    with pytest.raises(InvalidOption, match="30 days") as refused:
        Worker(app, "postgresql://localhost/none")

    assert refused.value.field == "retention"
    Worker(app, "postgresql://localhost/none", history_days=30)
