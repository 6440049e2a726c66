"""Jobs that may have been running when their worker was lost, on a worker of this process: they run alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perdure.core import limits
from perdure.jobs.loops.isolator import share
from perdure.jobs.model import JobSpec
from perdure.runtime import memory
from tests.rooms.worker import culprits
from tests.rooms.worker.stage import BOUND_SECONDS, Stage, runs, until, working

MIB = 1024 * 1024


async def _suspects(stage: Stage, *specs: JobSpec) -> list[int]:
    """Jobs as a rescue leaves them that couldn't tell whether they had begun."""
    ids = await stage.enqueue(*specs)
    await stage.rows("update perdure.job set rescues = 1 where id = any(%s) returning id", ids)
    return ids


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("segfault", "the child that ran it alone was killed by SIGSEGV"),
        ("leave", "the child that ran it alone ended with exit code 42"),
        ("hoard", "it ran alone into its memory limit of 251,658,240 bytes"),
        ("hang", "still running alone after "),
        ("deaf", "still running alone after "),
    ],
)
async def test_a_guilty_suspect_dies_alone(stage: Stage, task: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a suspect does to its process, it does to its child: the text of each attempt says what, the third is
    the last, and the worker goes on with the others [OPS-71, KIT-36, OPS-75].

    Red when suspects run in the worker, without a memory bound, and without a bound in time.
    """
    monkeypatch.setattr(memory, "budget_bytes", lambda: 400 * MIB)
    monkeypatch.setattr(limits, "SUSPECT_SECONDS", 0.3 if task == "hang" else 900.0)
    monkeypatch.setattr(limits, "SUSPECT_GRACE_SECONDS", 0.1)
    (guilty,) = await _suspects(stage, culprits.app.find(task).spec("{}"))
    async with working(stage.db, culprits.app):
        (dead,) = await stage.until_in("dead", guilty)
        (other,) = await stage.until_in("history", *await stage.enqueue(culprits.whose_loop.job()))

    assert (dead.reason, dead.attempt) == ("worker_lost", 3)
    assert str(dead.error).startswith(said)
    assert "after" not in said or " s, its child was killed" in str(dead.error)
    assert str(dead.error).endswith("crash 3 of 3")
    assert await stage.endings(guilty) == ["retry", "retry", "dead"]
    assert other.result == os.getpid()


async def test_innocent_suspects_of_every_kind_end_in_children(stage: Stage) -> None:
    """An innocent suspect completes in its first attempt, in a child of its own whatever its handler is, and its mates
    run in the worker meanwhile. Red when the claimer offers suspects to the slots."""
    kinds = [culprits.whose_loop.job(), culprits.whose_thread.job(), culprits.whose_process.job()]
    suspects = await _suspects(stage, *kinds * 3)
    (mate,) = await stage.enqueue(culprits.whose_loop.job())
    async with working(stage.db, culprits.app):
        jobs = await stage.until_in("history", *suspects)
        (other,) = await stage.until_in("history", mate)

    assert [(job.outcome, job.attempt) for job in jobs] == [("completed", 1)] * 9
    assert len({job.result for job in jobs} - {os.getpid(), None}) == 9
    assert other.result == os.getpid()


async def test_a_timeout_that_is_heeded_is_no_crash(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspect that ends at its timeout, as its task declares it, has failed as it would have on the loop. Red when
    the child is killed at once."""
    monkeypatch.setattr(limits, "SUSPECT_GRACE_SECONDS", BOUND_SECONDS)
    (id,) = await _suspects(stage, culprits.slow.job())
    async with working(stage.db, culprits.app):
        (dead,) = await stage.until_in("dead", id)

    assert (dead.reason, dead.rescues) == ("exhausted", 0)
    assert "TimeoutError: still running after 0.200 s, its timeout" in str(dead.error)


async def test_a_policy_may_give_up_before_the_third_crash(stage: Stage) -> None:
    """A crash alone is an attempt like any other: a job with two attempts is dead after the second."""
    (id,) = await _suspects(stage, culprits.leave_twice.job())
    async with working(stage.db, culprits.app):
        (dead,) = await stage.until_in("dead", id)

    assert (dead.reason, dead.attempt) == ("worker_lost", 2)
    assert "attempt 2 of 2 failed" in str(dead.error)


@pytest.mark.usefixtures("grace")
async def test_suspects_that_run_and_wait_are_given_back_by_a_drain(stage: Stage, tmp_path: Path) -> None:
    """SIGTERM gives waiting suspects back at once and stops the running ones at the deadline, their children with them;
    nobody is charged, and all remain suspects [OPS-77]. Red when the drain forgets the isolator."""
    files = [tmp_path / str(number) for number in range(20)]
    ids = await _suspects(stage, *[culprits.stay.job(str(file)) for file in files])
    async with working(stage.db, culprits.app, drain_seconds=0.1):
        await until(lambda: sum(file.exists() and file.read_text() != "" for file in files) >= 1)
    jobs = [await stage.job(id) for id in ids]

    assert {(job.place, job.attempt, job.rescues) for job in jobs} == {("ready", 0, 1)}
    told = [file.read_text() for file in files if file.exists()]  # empty: its child was killed before it could write
    await until(lambda: not any(runs(int(pid)) for pid in told if pid))


async def test_a_suspect_is_cancelled_with_its_child(stage: Stage, tmp_path: Path) -> None:
    """A running suspect is cancelled like any other job, and its child is gone."""
    told = tmp_path / "pid"
    (id,) = await _suspects(stage, culprits.stay.job(str(told)))
    async with working(stage.db, culprits.app):
        await until(lambda: told.exists() and told.read_text() != "")
        await stage.cancel(id, "not wanted")
        (job,) = await stage.until_in("history", id)
        await until(lambda: not runs(int(told.read_text())))

    assert (job.outcome, job.error) == ("cancelled", "not wanted")


@pytest.mark.parametrize("budget", [200 * MIB, 1_024 * MIB, 3_500 * MIB, 64_000 * MIB])
@pytest.mark.parametrize("beside", [0, 2])
def test_children_share_less_than_what_would_end_their_worker(budget: int, beside: int) -> None:
    """All children that may run at a time, with those that steps of runs have beside them, may allocate 60 % of the
    budget, and no more; where that is little there are fewer of them, and always one [OPS-75]. Red when those beside
    aren't counted."""
    count, each = share(budget, 16, beside)

    assert each is not None
    assert 1 <= count <= 16
    assert (count + beside) * each <= budget * limits.SUSPECT_MEMORY_SHARE
    assert count == 1 or each >= limits.SUSPECT_MEMORY_BYTES_MIN


async def test_more_suspects_than_there_is_room_for_wait_elsewhere(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker keeps only a few suspects waiting; the others go back for a while, uncharged, and all complete."""
    monkeypatch.setattr(limits, "SUSPECTS_PER_CORE", 1)
    monkeypatch.setattr(limits, "SUSPECTS_WAITING_MAX", 2)
    monkeypatch.setattr(limits, "SUSPECT_PAUSE_SECONDS", 0.1)
    suspects = await _suspects(stage, *[culprits.whose_thread.job() for _ in range(30)])
    async with working(stage.db, culprits.app):
        await stage.until_all_in("history", suspects)

    jobs = [await stage.job(id) for id in suspects]
    assert {(job.outcome, job.attempt) for job in jobs} == {("completed", 1)}
    assert await stage.value("select count(*) from perdure.attempt where ending = 'returned'") > 0
