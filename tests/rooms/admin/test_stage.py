"""Which rung of the ladder a system needs, by what it has met."""

from __future__ import annotations

import pytest

from perdure.admin.stage import stage as rungs
from tests.rooms.jobs.stage import Stage, end

HISTORY = """insert into perdure.history
(id, created_at, started_at, finished_at, lane, generation, attempt, rescues, outcome, task, payload)
values (9000, now(), now() - interval '2 minutes', now(), 4101, 0, 1, 0, 'completed', 'work', '{}')"""


def _fails(stage: Stage) -> None:
    worker = stage.worker()
    stage.settle([end(job, "retry") for job in stage.claim(worker)], worker)


def _loses_its_worker(stage: Stage) -> None:
    worker = stage.worker()
    stage.claim(worker)
    stage.lose(worker)
    stage.rescue()


@pytest.mark.parametrize(
    ("meets", "needed", "word"),
    [
        (lambda stage: None, 1, "in use"),
        (_fails, 2, "attempts have failed"),
        (_loses_its_worker, 2, "lost their worker"),
        (lambda stage: [stage.worker(name) for name in "ab"], 3, "2 workers live"),
        (
            lambda stage: [*[stage.worker(name) for name in "abcdefghijklmnopqrstuv"], stage.enqueue(1, key="k")],
            4,
            "key",
        ),
        (lambda stage: stage.main.sql(HISTORY), 5, "a handler ran 120 s"),
        (lambda stage: stage.enqueue(120, key="hot"), 5, "one key has 120 of 120"),
    ],
    ids=["rows", "failures", "rescue", "workers", "ownership", "long", "hot"],
)
def test_what_a_system_has_met_says_what_it_needs(stage: Stage, meets: object, needed: int, word: str) -> None:
    """Planted symptoms change the advice: every rung up to the highest whose trigger shows is needed, with the figure
    that says so; the seven rungs have their trigger, what they add, and when to stop [DW-6, DW-7]."""
    stage.enqueue(3)
    meets(stage)  # type: ignore[operator]
    found = stage.main.run(rungs())

    assert [each["needed"] for each in found] == [number <= needed for number in range(1, 8)]
    assert word in found[needed - 1]["seen"]
    assert all(each["trigger"] and each["adds"] and each["stop"] for each in found)
