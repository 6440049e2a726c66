"""Explain, where what should move a job doesn't: workers that are all gone, a chore that fails, an open transaction."""

from __future__ import annotations

import pytest

from perdure.admin import explain as module
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


def test_what_is_overdue_though_a_worker_lives_is_said_to_be(stage: Stage) -> None:
    """A job that is long due and hasn't been promoted, although there is who should, isn't said to go to ready when it
    is due: the chores are to be looked at. Red when it is only overdue where nobody lives."""
    job = CASES["overdue"](stage)
    stage.worker()
    found = stage.main.run(explain(job))

    assert found is not None
    assert (found.code, "perdure chores" in str(found.fix)) == ("overdue", True)


def test_a_job_in_an_open_transaction_is_said_to_be_in_its_hands(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a transaction that doesn't end has a job locked, no rescue takes it back and no cancel gets through: the
    session is named, and that it has to end. What runs may have such a one of its own. Red when the lock isn't looked
    for: the job is said to be taken back within a second."""
    monkeypatch.setattr(module, "LOCKED_SECONDS", 0.0)
    worker, lost = stage.worker(), stage.worker("lost")
    jobs = stage.enqueue(3)
    stage.claim(worker, 1)
    stage.claim(lost, 1)
    assert stage.lose(lost)
    other = stage.session()
    other.begin()
    other.sql("select from perdure.job for update")
    held = [stage.main.run(explain(id)) for id in jobs]
    (pid,) = other.sql("select pg_backend_pid()")[0]
    other.rollback()
    free = [stage.main.run(explain(id)) for id in jobs]

    assert [each.code for each in held if each is not None] == ["running", "locked", "locked"]
    assert all(f"session {pid}" in each.because and each.fix for each in held[1:] if each is not None)
    assert [each.code for each in free if each is not None] == ["running", "worker_gone", "next"]
