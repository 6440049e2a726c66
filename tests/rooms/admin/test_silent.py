"""Explain, where all who worked were killed at once: nobody is left to declare them dead, so they stand as alive."""

from __future__ import annotations

from perdure.admin.explain import explain
from perdure.fleet.ops import workers
from tests.rooms.admin.test_explain import CASES
from tests.rooms.jobs.stage import Stage


def test_a_worker_that_is_silent_is_nobody_to_wait_for(stage: Stage) -> None:
    """What waits beside workers that were all killed, and that nobody is left to declare dead, is said to need a
    worker, wherever it waits. Red when a worker counts as living by its state alone."""
    dead, mate, waits = stage.worker(), stage.worker("mate"), stage.enqueue()[0]
    due = CASES["overdue"](stage)
    [held] = stage.claim(dead, 1)
    for each in (dead, mate):
        stage.silence(each)
    told = {id: stage.main.run(explain(id)) for id in (stage.enqueue()[0], due, held.id)}
    heard = stage.worker("heard")
    now = stage.main.run(explain(held.id))
    stage.main.run(workers.drain(heard.id))
    drained = stage.main.run(explain(stage.enqueue()[0]))

    assert held.id == waits
    assert [each.code for each in told.values() if each is not None] == ["no_worker", "overdue", "worker_silent"]
    assert all(str(each.fix).startswith("start ") for each in told.values() if each is not None)
    assert now is not None
    assert (now.code, now.fix) == ("worker_silent", None)
    assert drained is not None
    assert "1 that live work on other queues, or drain" in drained.because
