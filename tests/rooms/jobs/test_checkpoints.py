"""Checkpoints in the database: what a save changes, and what it may not."""

from __future__ import annotations

from perdure.core.errors import LockTimeout, OwnershipLost
from perdure.jobs.ops.checkpoints import kept, save
from perdure.jobs.ops.progress import report
from perdure.jobs.ops.settle import complete_unheld, settle
from perdure.jobs.saves import Report, Save
from perdure.jobs.work import Claimed
from tests.rooms.jobs.stage import Stage, end


def _save(job: Claimed, serial: int, value: object = 1, version: int = 1) -> Save:
    return Save(job.id, job.generation, serial, version, str(value))


def _saved(stage: Stage, job: Claimed) -> object:
    [found] = stage.main.run(kept([job.id]))
    return None if found is None else found.value


def test_a_zombies_checkpoint_is_refused_and_the_position_stays(stage: Stage) -> None:
    """A worker whose job was given to somebody else can't move the position: not back, and not forward [PAT-2]. Red
    without the generation in save_checkpoints.sql."""
    worker, other = stage.worker(), stage.worker("other")
    [id] = stage.enqueue()
    [frozen] = stage.claim(worker)
    assert stage.main.run(save([_save(frozen, 1, 10)])) == [True]
    stage.lose(worker)
    assert stage.rescue() == 1
    [job] = stage.claim(other)
    assert stage.main.run(save([_save(job, 1, 20)])) == [True]

    answers = stage.main.run(save([_save(frozen, 2, 11), _save(frozen, 3, 99)]))

    assert [type(answer) for answer in answers] == [OwnershipLost, OwnershipLost]
    assert f"job {id}: was claimed as generation 0 and is generation 1 now" in str(answers[0])
    assert _saved(stage, job) == 20


def test_a_zombies_report_is_not_shown(stage: Stage) -> None:
    """What a worker says of a job that was given to somebody else isn't taken, whether its successor has reported yet
    or not [PAT-2]. Red without the generation in report_progress.sql."""
    worker, other = stage.worker(), stage.worker("other")
    [id] = stage.enqueue()
    [frozen] = stage.claim(worker)
    stage.lose(worker)
    assert stage.rescue() == 1
    [job] = stage.claim(other)

    def reported(claimed: Claimed, n: float) -> list[int]:
        return stage.main.run(report([Report(claimed.id, claimed.generation, n, 10, None)]))

    assert [reported(frozen, 9), reported(job, 1), reported(frozen, 9)] == [[], [id], []]
    assert stage.main.sql("select n from perdure.progress") == [(1,)]


def test_a_save_that_comes_late_does_not_undo_a_later_one(stage: Stage) -> None:
    """Saves of one run may be repeated and may overtake each other; the last one stands [PAT-2]. Red without the
    serial in the statement."""
    worker = stage.worker()
    stage.enqueue()
    [job] = stage.claim(worker)

    assert stage.main.run(save([_save(job, 2, 20), _save(job, 1, 10)])) == [True, True]
    assert stage.main.run(save([_save(job, 2, 20)])) == [True]
    assert stage.main.run(save([_save(job, 1, 10)])) == [True]

    assert _saved(stage, job) == 20


def test_progress_counts_attempts_and_rescues_from_nought_again(stage: Stage) -> None:
    """Saving something new makes the run the first of a new row of attempts, in the statement that saves it; saving
    what was saved before doesn't [PAT-7]. Red without the update of the job in save_checkpoints.sql."""
    worker = stage.worker()
    stage.enqueue()
    [job] = stage.claim(worker)
    assert stage.main.run(save([_save(job, 1)])) == [True]
    for _ in range(3):
        stage.settle([end(job, "retry")], worker)
        stage.due()
        [job] = stage.claim(worker)
        assert stage.main.run(save([_save(job, 1)])) == [False]
    stage.lose(worker)
    stage.rescue()
    worker = stage.worker("other")
    [job] = stage.claim(worker)
    before = stage.main.sql("select attempt, rescues from perdure.job")
    again = stage.main.run(save([_save(job, 1)]))
    advanced = stage.main.run(save([_save(job, 2, 2)]))

    assert (before, again, advanced) == ([(3, 1)], [False], [True])
    assert stage.main.sql("select attempt, rescues from perdure.job") == [(0, 0)]
    stage.settle([end(job, "retry")], worker)
    assert stage.main.sql("select attempt from perdure.job") == [(1,)]


def test_an_end_that_is_refused_clears_nothing(stage: Stage) -> None:
    """The late completion of a job that somebody else runs leaves that one's checkpoint where it is [PAT-2, PAT-3]. Red
    when an end clears whatever it names."""
    worker, other = stage.worker(), stage.worker("other")
    stage.enqueue()
    [frozen] = stage.claim(worker)
    stage.lose(worker)
    stage.rescue()
    [job] = stage.claim(other)
    stage.main.run(save([_save(job, 1, 20)]))

    with stage.main.conn.transaction():
        assert len(stage.main.run(settle([end(frozen)], worker.id, sides=True))) == 1
    assert _saved(stage, job) == 20
    with stage.main.conn.transaction():
        assert stage.main.run(settle([end(job)], other.id, sides=True)) == []
    assert _saved(stage, job) is None


def test_what_a_handler_completes_itself_leaves_nothing_behind(stage: Stage) -> None:
    """A job that its handler's own transaction completes loses its checkpoint, its report and its key with that commit,
    and keeps all of them when that is rolled back [PAT-3]. Red when only what the worker settles is looked at."""
    worker = stage.worker()
    stage.enqueue(unique="order:9182")
    [job] = stage.claim(worker)
    assert stage.main.run(save([_save(job, 1)])) == [True]
    assert stage.main.run(report([Report(job.id, job.generation, 1, 10, None)])) == [job.id]

    def left(how: str) -> list[int]:
        stage.main.begin()
        stage.main.run(complete_unheld(end(job)))
        stage.main.sql(how)
        return [stage.counts(table) for table in ("checkpoint", "progress", "unique_key")]

    assert [left("rollback"), left("commit")] == [[1, 1, 1], [0, 0, 0]]


def test_a_locked_job_is_not_taken_for_a_lost_one(stage: Stage) -> None:
    """While a transaction holds the row of one job, its mates are saved at once, and it is told to try again. Red when
    the statement waits for the lock, or takes the job for somebody else's."""
    worker, other = stage.worker(), stage.session()
    stage.enqueue(2)
    free, locked = stage.claim(worker)
    other.begin()
    other.sql("select from perdure.job where id = %s for update", [locked.id])

    first, second = stage.main.run(save([_save(free, 1), _save(locked, 1)]))

    assert first is True
    assert isinstance(second, LockTimeout)
    other.rollback()
    assert stage.main.run(save([_save(locked, 1)])) == [True]


def test_a_save_waits_for_nobody_and_rescue_leaves_it_alone(stage: Stage) -> None:
    """A checkpoint that is being written holds its job's row: a rescue at that moment skips the job, so the save is
    either the old holder's last word or refused, and never lands after the next one has read it [PAT-2]. Red without
    the row lock in save_checkpoints.sql."""
    worker, saver = stage.worker(), stage.session()
    stage.enqueue()
    [job] = stage.claim(worker)
    stage.lose(worker)
    saver.begin()
    assert saver.run(save([_save(job, 1, 10)])) == [True]

    assert stage.rescue() == 0
    saver.commit()
    assert stage.rescue() == 1

    [job] = stage.claim(stage.worker("other"))
    assert _saved(stage, job) == 10
