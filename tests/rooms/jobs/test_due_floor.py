"""The floor of what is scheduled on real sessions: nothing that can still show up below it is forgotten.

As with the claim floor, each test puts somebody else's transaction exactly between two statements of the upkeep.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perdure.jobs import due as arithmetic
from perdure.jobs.due import LAG_SECONDS, Due
from perdure.jobs.ops.chores import due_probe, due_writers, promote
from perdure.jobs.ops.claim import Look, look
from tests.rooms.jobs.stage import Session, Stage, end


class Watch:
    """One worker's floor of what is scheduled, and its upkeep; the worker's own clock goes a second a round."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.due, self.now = stage, Due(), 0.0

    def look(self) -> Look:
        """One look from the floor."""
        seen = self.stage.main.run(look([], [], self.due.start))
        self.due.looked(seen.clock, seen.due_at, seen.clock / 1e6)
        return seen

    def tend(self) -> bool:
        """List the writers, probe what the floor asks; whether stragglers showed up."""
        self.now += LAG_SECONDS
        ranges = self.due.floor.listed(self.stage.main.run(due_writers()), self.now, LAG_SECONDS)
        return bool(ranges) and self.due.floor.probed(self.stage.main.run(due_probe(ranges)))

    def raised(self) -> int:
        """The floor after a look and, with nobody in between, its confirmation."""
        self.look()
        self.tend()
        self.tend()
        return self.due.start


@pytest.fixture
def watch(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A floor that follows the server's clock at no distance."""
    monkeypatch.setattr(arithmetic, "SLACK_MICROS", 0)
    return Watch(stage)


def _schedule(stage: Stage, session: Session, jobs: int = 1) -> list[int]:
    """Jobs that are due in a moment. An enqueue that names the moment would make them ready, if it has passed before
    they are written."""
    made = stage.enqueue(jobs, session=session, delay=3_600)
    session.sql(
        "with soon as (update perdure.scheduled set run_at = clock_timestamp() + interval '1 ms' where id = any(%s) "
        "returning id, run_at) update perdure.job j set run_at = s.run_at from soon s where j.id = s.id",
        [made],
    )
    return made


def _pass(stage: Stage, session: Session) -> int:
    """Wait until what the session has scheduled is due; the latest due time."""
    [(latest,)] = session.sql("select (extract(epoch from max(run_at)) * 1000000)::bigint from perdure.scheduled")
    while stage.main.run(look([])).clock <= latest:
        pass
    return int(latest)


def _late(stage: Stage) -> tuple[Session, int, int]:
    """A transaction that has scheduled a job which is due meanwhile, and stays open; the job and its due time."""
    session = stage.session()
    session.begin()
    [id] = _schedule(stage, session)
    return session, id, _pass(stage, session)


def test_the_floor_passes_what_was_promoted(stage: Stage, watch: Watch) -> None:
    """Looks and promotions begin behind the promoted rows, whoever promoted them, and see all that comes later."""
    _schedule(stage, stage.main, 5)
    latest = _pass(stage, stage.main)
    assert stage.main.run(promote()) == 5

    assert watch.raised() >= latest
    _schedule(stage, stage.main)
    _pass(stage, stage.main)

    assert (watch.look().due_in or 0) < 0
    assert stage.main.run(promote(floor=watch.due.start)) == 1


def test_a_late_commit_with_an_early_due_time_is_promoted(stage: Stage, watch: Watch) -> None:
    """A job that was due long before its transaction commits is found below the floor when the transaction has ended,
    and promoted from there. Red without the guards, or when the writers of another table are listed."""
    late, straggler, due_at = _late(stage)
    assert watch.raised() > due_at

    assert watch.tend() is False
    late.commit()
    assert stage.main.run(promote(floor=watch.due.start)) == 0
    assert watch.tend() is True

    assert watch.look().due_at == due_at
    assert stage.main.run(promote(floor=watch.due.start)) == 1
    assert stage.places() == {straggler: "ready"}


def test_a_promotion_that_rolls_back_leaves_its_jobs_above_the_floor(stage: Stage, watch: Watch) -> None:
    """A job that somebody is promoting holds the floor below it until that has committed; rolled back, the next
    promotion moves it. Red when a candidate isn't probed, or is taken from the clock alone."""
    [id] = _schedule(stage, stage.main)
    due_at = _pass(stage, stage.main)
    promoting = stage.session()
    promoting.begin()
    assert promoting.run(promote()) == 1

    assert watch.raised() < due_at
    promoting.rollback()

    assert stage.main.run(promote(floor=watch.due.start)) == 1
    assert stage.places() == {id: "ready"}


def test_jobs_due_at_one_microsecond_are_all_promoted(stage: Stage, watch: Watch) -> None:
    """A promotion that ends in the middle of many jobs with one due time leaves the others above the floor."""
    jobs = stage.enqueue(5, delay=60)
    for table in ("scheduled", "job"):
        stage.main.sql(
            f"update perdure.{table} set run_at = date_trunc('second', run_at) - interval '2 min' where id = any(%s)",
            [jobs],
        )
    assert stage.main.run(promote(2)) == 2
    watch.raised()

    assert stage.main.run(promote(floor=watch.due.start)) == 3


@pytest.mark.parametrize("way", ["enqueue", "enqueue_v1"])
def test_a_due_time_is_never_before_the_writer_s_lock(stage: Stage, way: str) -> None:
    """Whoever schedules a job locks the table first and reads the clock then, so that a due time at or below a floor
    always belongs to somebody the listing names. Red when enqueue_v1 locks scheduled with its last statement."""
    writing, blocking = stage.session(), stage.session()
    ways: dict[str, Callable[[], object]] = {
        "enqueue": lambda: stage.enqueue(session=writing, delay=0.3),
        "enqueue_v1": lambda: writing.sql("select perdure.enqueue_v1('work', delay => interval '300 ms')"),
    }
    blocking.begin()
    blocking.sql("lock table perdure.scheduled in share mode")
    waiting = writing.background(ways[way])
    stage.blocked(writing, by=blocking)
    [(waits,)] = stage.main.sql("select clock_timestamp()")  # a due time that was made by now is passed by then
    while not stage.main.sql("select clock_timestamp() > %s + interval '300 ms'", [waits])[0][0]:
        pass
    [(let_go,)] = stage.main.sql("select clock_timestamp()")
    blocking.commit()
    waiting.result()

    assert stage.main.sql("select run_at > %s from perdure.scheduled", [let_go]) == [(True,)]


def test_a_negative_delay_is_no_earlier_than_now(stage: Stage) -> None:
    """An end that asks to run again in the past is due now: its due time isn't before the statement that writes it."""
    worker = stage.worker()
    stage.enqueue()
    [job] = stage.claim(worker)
    [(before,)] = stage.main.sql("select clock_timestamp()")
    stage.settle([end(job, "retry", delay=-60.0)], worker)

    assert stage.main.sql("select run_at >= %s from perdure.scheduled", [before]) == [(True,)]
