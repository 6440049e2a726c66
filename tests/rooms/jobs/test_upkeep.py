"""Each chore's effect and its bound, and that two at once do no harm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Barrier

import pytest

from perdure.admin.doctor.places import MISPLACED
from perdure.core.op import Op, rows
from perdure.fleet.ops import upkeep, workers
from perdure.jobs.ops import chores
from perdure.jobs.ops import rescue as rescuing
from perdure.sql import compiled
from tests.rooms.jobs.stage import Session, Stage, end

JOBS = 60
OLD_DAYS = """
do $$ declare parent text; day date; begin
    foreach parent in array '{history,attempt}'::text[] loop
        for n in 20..24 loop
            day := (now() at time zone 'UTC')::date - n;
            execute format('create table perdure.%I partition of perdure.%I for values from (%L) to (%L)',
                           parent || to_char(day, '_YYYYMMDD'), parent, day || ' 00:00+00', (day + 1) || ' 00:00+00');
        end loop;
    end loop;
end $$
"""
FINISHED = """
insert into perdure.history (id, created_at, finished_at, lane, generation, attempt, rescues, outcome, task, payload)
select %s + n, now() - %s::interval, now() - %s::interval, 4101, 0, 1, 0, 'completed', 'work', '{}'
from generate_series(1, %s) n
"""


def _scheduled(stage: Stage) -> None:
    stage.enqueue(JOBS, delay=60.0)
    stage.main.sql("update perdure.job set run_at = now() - interval '1 s'")
    stage.main.sql("update perdure.scheduled set run_at = j.run_at from perdure.job j where j.id = scheduled.id")


def _parked(stage: Stage) -> None:
    worker = stage.worker()
    stage.enqueue(JOBS)
    stage.settle([end(job, "held") for job in stage.claim(worker)], worker)


def _lost(stage: Stage) -> None:
    worker = stage.worker()
    stage.enqueue(JOBS)
    for _ in range(JOBS // 5):
        stage.claim(worker, 5)
    stage.lose(worker)


def _cancelled(stage: Stage) -> None:
    for id in stage.enqueue(JOBS):
        stage.main.sql("insert into perdure.cancel_request (id) values (%s)", [id])


def _strays(stage: Stage) -> None:
    stage.main.sql(FINISHED, [1_000, "40 days", "30 days", JOBS])


def _ended(stage: Stage) -> None:
    for _ in range(JOBS):
        stage.main.run(workers.leave(stage.worker().id))
    stage.main.sql("update perdure.worker set ended_at = ended_at - interval '2 days'")


def _rescue_all(limit: int) -> Op[int]:
    after, rescued = 0, 0
    while rescued < limit:
        found = yield from rescuing.rescue(after)
        if found.lease is None:
            break
        after, rescued = found.lease, rescued + found.rescued
    return rescued


CHORES: list[tuple[Callable[[Stage], None], Callable[[int], Op[int]], str]] = [
    (_scheduled, lambda limit: chores.promote(limit), "select count(*) from perdure.scheduled"),
    (_parked, lambda limit: chores.release(["work"], limit), "select count(*) from perdure.held"),
    (_lost, _rescue_all, "select count(*) from perdure.job where rescues = 0"),
    (_cancelled, lambda limit: chores.sweep_cancels(limit), "select count(*) from perdure.cancel_request"),
    (_strays, lambda limit: chores.drop_strays("history", 14, limit), "select count(*) from perdure.history_default"),
    (_ended, lambda limit: workers.prune(1, limit), "select count(*) from perdure.worker"),
]
NAMED = pytest.mark.parametrize(
    ("prepare", "chore", "left"), CHORES, ids=["promote", "release", "rescue", "cancels", "strays", "prune"]
)


@NAMED
def test_a_chore_does_its_work_in_bounded_batches(
    stage: Stage, prepare: Callable[[Stage], None], chore: Callable[[int], Op[int]], left: str
) -> None:
    """A run does as much as its bound and no more, says how much, and a few of them do everything [DW-114]. Red without
    the LIMIT in the chore's statement."""
    prepare(stage)
    done: list[int] = []
    while not done or done[-1] > 0:
        before = stage.main.sql(left)[0][0]
        done.append(stage.main.run(chore(25)))
        assert before - stage.main.sql(left)[0][0] == done[-1]

    assert sum(done) == JOBS
    assert max(done) == 25
    stage.places()


@NAMED
def test_two_runs_of_a_chore_at_once_do_no_harm(
    stage: Stage, prepare: Callable[[Stage], None], chore: Callable[[int], Op[int]], left: str
) -> None:
    """Two sessions that do the same chore at the same moment, as they may when a lock is lost with its holder, do its
    work once between them, and nothing is left out of place [DW-115]. Red when what moves wasn't deleted."""
    prepare(stage)
    gate = Barrier(2)

    def work(session: Session) -> int:
        gate.wait(30)
        done, idle = 0, 0
        while idle < 2:
            moved = session.run(chore(7))
            done, idle = done + moved, idle + 1 if not moved else 0
        return done

    sessions = [stage.session(), stage.session()]
    running = [session.background(partial(work, session)) for session in sessions]

    done = sum(each.result() for each in running)
    assert done == JOBS or (prepare is _cancelled and done > JOBS)  # a sweep counts what it looked at
    assert stage.main.sql(left) == [(0,)]
    assert stage.main.run(rows(MISPLACED)) == []


@pytest.mark.parametrize("parent", chores.DAY_TABLES)
def test_two_who_make_or_drop_days_at_once_do_no_harm(stage: Stage, parent: str) -> None:
    """Whoever comes second waits for the first and then finds the days made, or dropped, or is refused: each day is
    there once, or gone, and history takes rows meanwhile [DW-115]."""
    stage.main.conn.execute(OLD_DAYS.encode())
    stage.main.sql("select perdure.drop_days(-9)")
    first, second = stage.session(), stage.session()
    for op, count in ((chores.make_days(parent), 4), (chores.drop_days(parent, -9), 0)):
        first.begin()
        first.run(op)
        following = second.start(chores.make_days(parent) if count else chores.drop_days(parent, -9))
        stage.blocked(second, by=first)
        first.commit()
        following.exception()
        days = (
            "select count(*) from pg_inherits where inhparent = %s::regclass and inhrelid::regclass::text not like %s"
        )

        assert stage.main.sql(days, [f"perdure.{parent}", "%default"]) == [(count,)]
    stage.main.sql(FINISHED, [1, "1 s", "1 s", 1])


def test_history_is_kept_from_when_jobs_finished(stage: Stage) -> None:
    """What is dropped is what finished before its keeping, however long ago it was created, a bounded number of days in
    a transaction; a run that is rolled back has lost nothing, and the next one drops the same [DW-162]."""
    stage.main.conn.execute(OLD_DAYS.encode())
    stage.main.sql(FINISHED, [100, "25 days", "22 days", 5])
    stage.main.sql(FINISHED, [200, "25 days", "1 hour", 7])
    kept = "select count(*) from perdure.history"

    stage.main.begin()
    rolled_back = stage.main.run(chores.drop_days("history", 14, 4))
    stage.main.rollback()
    after_crash = stage.main.sql(kept)
    dropped = [stage.main.run(chores.drop_days("history", 14, 4)) for _ in range(3)]

    assert (rolled_back, after_crash) == (4, [(12,)])
    assert dropped == [4, 1, 0]
    assert stage.main.sql("select distinct id / 100 from perdure.history") == [(2,)]


def test_what_is_kept_by_day_and_what_is_asked_twice_have_their_tables(stage: Stage) -> None:
    """The archive (history, by day), the attempt log and the memory of chores stand in the schema [DW-160]."""
    tables = {name for (name,) in stage.main.sql("select relname from pg_class where relkind in ('r', 'p')")}

    assert {"history", "attempt", "chore", "worker"} <= tables


def test_a_memory_that_is_older_than_its_lock_begins_nothing(stage: Stage) -> None:
    """A duty that somebody has done between the moment at which its memory was read and the moment at which its lock
    was free isn't begun a second time [DW-112]. Red when it begins whatever the row says by then."""
    say = stage.main.run
    assert say(upkeep.begin("history.drop", 1, 3_600.0)).now
    say(
        upkeep.do(
            "history.drop", lambda limit: chores.drop_days("history", 14, limit), 8, more=lambda *_: False, period=3600
        )
    )
    late = upkeep.begin("history.drop", 2, 3_600.0)
    next(late)  # it asks for the memory, and is given one of before
    old = dict.fromkeys(("batch", "running_on", "succeeded_ago"))
    begin = late.send(
        [{"mine": True, "failures": 0, "runs": False, "left_cleanly": False, "due_in": 0.0, "crashes": 0, **old}]
    )
    with pytest.raises(StopIteration) as ended:
        late.send(stage.main.sql(compiled(begin.statement, "perdure"), begin.params))  # type: ignore[arg-type]

    assert not ended.value.value.now


def test_a_failure_is_waited_for_longer_each_time(stage: Stage) -> None:
    """Each failure in a row doubles the wait, up to a minute; the third parks a duty for an hour, never what jobs wait
    for; what was only put off counts for nothing, and a success ends the row."""
    say = stage.main.run
    waits = [round(say(upkeep.fail("promote", "no", parks=False)).due_in) for _ in range(6)]
    put_off = say(upkeep.fail("history.drop", "later", parks=True, charge=False, pause=60.0))
    parked = [say(upkeep.fail("history.drop", "no", parks=True)) for _ in range(3)]
    say(
        upkeep.do(
            "history.drop", lambda limit: chores.drop_days("history", 14, limit), 8, more=lambda *_: False, period=9.0
        )
    )
    [drop] = [chore for chore in say(upkeep.list_chores()) if chore.name == "history.drop"]

    assert waits == [5, 10, 20, 40, 60, 60]
    assert (put_off.failures, put_off.parked) == (0, False)
    assert [(each.failures, each.parked, round(each.due_in)) for each in parked] == [
        (1, False, 5), (2, False, 10), (3, True, 3_600),
    ]  # fmt: skip
    assert (drop.consecutive_failures, drop.parked_until) == (0, None)


def test_a_worker_is_one_of_four_things_at_a_time(stage: Stage) -> None:
    """A worker's row goes from alive to draining to left, or to dead when its beat runs out, and never back; when it
    was last heard of is its expiry less the time others wait [DW-156]. Red without ``state`` in the statements."""
    one, two = stage.worker("one"), stage.worker("two")
    seen = [[worker.state for worker in reversed(stage.main.run(workers.list_workers()))]]
    stage.main.run(workers.drain(one.id))
    stage.silence(two)
    stage.main.run(workers.declare_dead(two.id))
    seen.append([worker.state for worker in sorted(stage.main.run(workers.list_workers()), key=lambda w: w.id)])
    stage.main.run(workers.leave(one.id))
    seen.append([worker.state for worker in sorted(stage.main.run(workers.list_workers()), key=lambda w: w.id)])
    back = [stage.main.run(workers.drain(id)) for id in (one.id, two.id)]
    back += [stage.main.run(workers.beat(id)) is not None for id in (one.id, two.id)]
    ended = [worker.ended_at is not None for worker in stage.main.run(workers.list_workers())]

    assert seen == [["alive", "alive"], ["draining", "dead"], ["left", "dead"]]
    assert back == [False] * 4
    assert ended == [True, True]
