"""What a full queue takes: nothing that isn't declared, on every way in, and with nobody at work on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from perdure.core.errors import QueueSaturated
from perdure.core.op import Op, Row
from perdure.jobs import bounds
from perdure.jobs.ops import admission
from perdure.jobs.ops.enqueue import enqueue
from tests.rooms.jobs.stage import Session, Stage, end

QUEUE = "default"


def declare(stage: Stage, name: str = QUEUE, *, by: str = "shop", **said: Any) -> admission.Declared:
    """Declare the queue, as an app does."""
    options: dict[str, Any] = {"max_depth": None, "max_age": None, "when_full": None, "deadline": None}
    with stage.main.conn.transaction():
        return stage.main.run(admission.declare([bounds.rule(name, **(options | said))], by))[0]


def forget(stage: Stage) -> None:
    """Let what is known of the queue be counted anew at the next question, as it is after a twentieth of a second."""
    stage.main.sql("update perdure.queue_sample set at = at - interval '1 minute', took = 0")


def placed(stage: Stage) -> Counter[str]:
    """How many jobs stand in each place."""
    return Counter(stage.places().values())


def test_a_full_queue_refuses_before_anything_is_written(stage: Stage) -> None:
    """Past its bound a queue refuses one job, many and those for later alike: the enqueue raises, nothing is written,
    and the caller's transaction goes on [ARC-7, ARC-13]. Red when the statements that enqueue overlook ``guarded``."""
    declare(stage, max_depth=3)
    stage.enqueue()
    stage.enqueue(2)

    stage.main.begin()
    with pytest.raises(QueueSaturated) as refused:
        stage.enqueue()
    several: list[tuple[int, dict[str, Any]]] = [(2, {}), (1, {"delay": 3_600}), (2, {"priority": 9}), (6_000, {})]
    for jobs, options in several:
        with pytest.raises(QueueSaturated):
            stage.enqueue(jobs, **options)
    with pytest.raises(QueueSaturated):
        stage.main.run(enqueue([stage.spec.options(queue="other"), stage.spec]))
    stage.enqueue(queue="other")
    stage.main.commit()

    assert (refused.value.queue, refused.value.depth, refused.value.max_depth) == (QUEUE, 3, 3)
    assert placed(stage) == {"ready": 4}


def test_what_is_claimed_makes_room(stage: Stage) -> None:
    """A queue that was full takes jobs again once some have been claimed, whoever counts it [ARC-7]."""
    declare(stage, max_depth=5)
    worker = stage.worker()

    for _ in range(5):
        stage.enqueue(5)
        with pytest.raises(QueueSaturated):
            stage.enqueue()
        assert len(stage.claim(worker)) == 5
        forget(stage)


def test_a_queue_without_a_bound_is_asked_nothing(stage: Stage) -> None:
    """One statement enqueues where no bound is declared, and where "unlimited" is: what bounds cost, bounded queues
    pay [ARC-13]. Red when every enqueue asks."""

    def sent(jobs: int) -> list[str]:
        names: list[str] = []

        def noting(op: Op[Any]) -> Op[Any]:
            call = next(op)
            try:
                while True:
                    names.append(call.statement.name)
                    found: Sequence[Row] = yield call
                    call = op.send(found)
            except StopIteration as done:
                return done.value

        stage.main.run(noting(enqueue([stage.spec] * jobs)))
        return names

    assert (sent(1), sent(2)) == (["jobs.enqueue_one"], ["jobs.enqueue_alike"])
    declare(stage, max_depth="unlimited")
    assert sent(1) == ["jobs.enqueue_one"]
    declare(stage, max_depth=10)
    assert sent(1) == ["jobs.enqueue_one", "queues.admit", "jobs.enqueue_one"]


def test_fifty_at_the_limit_wait_for_nobody_and_pass_it_by_themselves_at_most(stage: Stage) -> None:
    """Fifty transactions that enqueue at the limit, all open at once, neither wait for each other nor deadlock: the
    bound is passed by what they write, and not by one job more [ARC-13]. Red when the check takes a lock that
    enqueuers queue on, and when it accepts what it sees is full."""
    declare(stage, max_depth=100)
    stage.enqueue(95)
    sessions = [stage.session() for _ in range(50)]
    together = Barrier(len(sessions), timeout=30)

    def one_each(session: Session) -> None:
        session.sql("set lock_timeout = '10s'")
        session.begin()
        stage.enqueue(session=session)
        together.wait()  # nobody has committed yet
        session.commit()

    with ThreadPoolExecutor(len(sessions)) as pool:
        list(pool.map(one_each, sessions))
    forget(stage)
    with pytest.raises(QueueSaturated) as refused:
        stage.enqueue()

    assert refused.value.depth == 145 == placed(stage)["ready"]


def test_a_flood_stops_at_the_bound(stage: Stage) -> None:
    """Of six hundred enqueues by ten sessions at once the bound is accepted, and at most what the ten were writing
    at the last count and at the check [ARC-13]."""
    declare(stage, max_depth=100)
    sessions = [stage.session() for _ in range(10)]

    def flood(session: Session) -> int:
        refused = 0
        for _ in range(60):
            try:
                stage.enqueue(session=session)
            except QueueSaturated:
                refused += 1
        return refused

    with ThreadPoolExecutor(len(sessions)) as pool:
        refused = sum(pool.map(flood, sessions))

    assert 100 <= placed(stage)["ready"] == 600 - refused <= 120


def test_the_least_urgent_and_newest_gives_way(stage: Stage) -> None:
    """A more urgent job takes the place of the least urgent one that came last, which ends as discarded and says why;
    one that is no more urgent than any is refused itself [ARC-7]."""
    declare(stage, max_depth=3, when_full="shed_lowest")
    last, later = stage.enqueue(2, priority=9)
    [middle] = stage.enqueue(priority=7)

    [first] = stage.enqueue(priority=5)
    assert stage.places() == {last: "ready", later: "history", middle: "ready", first: "ready"}
    for refused in ((1, 9), (2, 7), (3, 5)):
        with pytest.raises(QueueSaturated):
            stage.enqueue(refused[0], priority=refused[1])
    assert len(stage.enqueue(2, priority=6)) == 2

    assert placed(stage) == {"ready": 3, "history": 3}
    assert stage.main.sql("select distinct outcome, left(error, 5) from perdure.history") == [("discarded", "shed:")]


def test_of_several_full_queues_all_discard_or_none(stage: Stage) -> None:
    """An enqueue to two full queues, the second of which has nothing less urgent to discard, discards nothing in the
    first one either: not in a transaction that goes on, nor without one. Red when each queue sheds by itself."""
    for name in ("default", "mail"):
        declare(stage, name, max_depth=1, when_full="shed_lowest")
    stage.enqueue(priority=9)
    stage.enqueue(priority=0, queue="mail")
    urgent = [stage.spec.options(priority=3), stage.spec.options(priority=3, queue="mail")]

    for begun in (False, True):
        if begun:
            stage.main.begin()
        with pytest.raises(QueueSaturated) as refused:
            stage.main.run(enqueue(urgent))
        if begun:
            stage.main.commit()
        assert refused.value.queue == "mail"
    assert placed(stage) == {"ready": 2}
    forget(stage)
    stage.enqueue(priority=9, queue="other")
    declare(stage, "other", max_depth=1, when_full="shed_lowest")

    stage.main.run(enqueue([urgent[0], stage.spec.options(priority=3, queue="other")]))

    assert placed(stage) == {"ready": 3, "history": 2}


def test_what_spills_stands_in_line_and_enters_in_order(stage: Stage) -> None:
    """What a full queue has no room for waits in line, due when the depth falls: it enters in the order of its
    enqueue, never past the bound, and before whatever comes later [ARC-7]."""
    declare(stage, max_depth=3, when_full="spill")
    worker = stage.worker()
    jobs = stage.enqueue(5)
    jobs += stage.enqueue()
    assert placed(stage) == {"ready": 3, "scheduled": 3}
    assert stage.main.run(admission.advance(stage.queue)) == 0

    ran = [job.id for job in stage.claim(worker, 2)]
    forget(stage)
    jobs += stage.enqueue()  # there is room, and others wait for it
    assert stage.main.run(admission.advance(stage.queue)) == 2
    assert placed(stage) == {"leased": 2, "ready": 3, "scheduled": 2}
    while claimed := stage.claim(worker, 1):
        ran += [job.id for job in claimed]
        forget(stage)
        stage.main.run(admission.advance(stage.queue))

    assert ran == jobs


def test_what_is_delayed_comes_back_one_after_the_other(stage: Stage) -> None:
    """What a full queue delays is due when the queue may have drained, spread over as long again; what is due later
    anyway isn't touched [ARC-7]."""
    declare(stage, max_depth=2, when_full="delay")
    stage.enqueue(6)
    stage.enqueue(delay=5)

    waits = stage.main.sql(
        "select (round(extract(epoch from run_at - created_at) / 5) * 5)::int as wait from perdure.job "
        "where run_at is not null order by wait"
    )
    assert [wait for (wait,) in waits] == [5, 300, 375, 450, 525]


def test_a_retry_counts_and_waits_for_room(stage: Stage) -> None:
    """Retries aren't exempt: those that fall due in a full queue wait in line for room, the queue counts them and takes
    nothing new before they are in, and none is lost [ARC-12]. Red when promotion doesn't ask for room."""
    declare(stage, max_depth=3)
    worker = stage.worker()
    stage.enqueue(3)
    stage.settle([end(job, "retry", delay=0.0) for job in stage.claim(worker)], worker)
    stage.enqueue(3)

    assert stage.due() == 3
    assert placed(stage) == {"ready": 3, "scheduled": 3}
    stage.claim(worker, 3)
    forget(stage)
    with pytest.raises(QueueSaturated) as refused:
        stage.enqueue()
    assert stage.main.run(admission.advance(stage.queue)) == 3
    assert sorted(job.attempt for job in stage.claim(worker)) == [2, 2, 2]
    assert refused.value.depth == 3


def test_age_is_how_long_the_oldest_has_been_ready(stage: Stage) -> None:
    """A queue is full, too, when its oldest job has been ready for too long. A job that is scheduled for tomorrow has
    no age, and a retry none before it is due [ARC-9]. Red when scheduled jobs, or the time before a retry was due,
    count as age."""
    declare(stage, max_age=60)
    worker = stage.worker()

    def made_hours_ago(*jobs: int) -> None:
        stage.main.sql(
            "update perdure.job set created_at = created_at - interval '2 hours' where id = any(%s)", [list(jobs)]
        )
        stage.main.sql("delete from perdure.queue_sample")

    def age() -> float | None:
        stage.main.sql("select perdure.sample(%s)", [stage.queue])
        [(found,)] = stage.main.sql("select age from perdure.admit(%s, 1)", [stage.queue])
        return None if found is None else float(found)

    [tomorrow], [retried] = stage.enqueue(delay=timedelta(days=1)), stage.enqueue()
    made_hours_ago(tomorrow, retried)
    stage.settle([end(job, "retry", delay=0.0) for job in stage.claim(worker)], worker)
    assert age() is None
    stage.main.sql("delete from perdure.scheduled where id = %s", [tomorrow])
    assert stage.due() == 1
    assert 0 < (age() or 0) < 60
    stage.enqueue()

    stage.claim(worker)
    [old] = stage.enqueue()
    made_hours_ago(old)
    with pytest.raises(QueueSaturated) as refused:
        stage.enqueue()
    stage.claim(worker)
    stage.enqueue()

    assert "the oldest ready for 72" in str(refused.value)


def test_a_bound_that_is_lifted_lets_everybody_in(stage: Stage) -> None:
    """Once a queue is declared unlimited, those in line enter it whatever its depth."""
    declare(stage, max_depth=1, when_full="spill")
    stage.enqueue(20)

    declare(stage, max_depth="unlimited")

    assert stage.main.run(admission.advance(stage.queue)) == 19
    assert placed(stage) == {"ready": 20}


def test_the_last_word_counts_and_is_told(stage: Stage) -> None:
    """Of two apps that declare a queue differently the last one is obeyed, and hears of the other; the same words
    again change nothing."""
    first = declare(stage, max_depth=5)
    again = declare(stage, max_depth=5, by="other")
    told = declare(stage, max_depth=9, by="other", when_full="block", deadline=2)
    own = declare(stage, max_depth=8, by="other")

    assert [each.changed for each in (first, again, told, own)] == [True, False, True, True]
    assert [each.before_by for each in (first, again, told, own)] == [None, None, "shop", None]
    assert str(told.before) == "at most 5 jobs, then reject"
    assert str(told.rule) == "at most 9 jobs, then block for 2 s"


def test_the_hint_grows_as_the_drain_slows(stage: Stage) -> None:
    """What a refusal says to wait is the time in which a tenth of the bound drains, by what the workers measure: from
    a second up, longer the slower they are, and five minutes when nothing drains [ARC-8]."""
    declare(stage, max_depth=1_000)
    stage.enqueue(1_000)
    stage.worker()
    hints = []
    for rate in (1_000, 50, 10, 1, 0):
        stage.main.sql(
            "update perdure.worker set gauges = json_build_object('queues', json_build_object('default', "
            "json_build_object('ended_per_second', %s::float8)))",
            [rate],
        )
        forget(stage)
        with pytest.raises(QueueSaturated) as refused:
            stage.enqueue()
        hints.append(refused.value.problem["retry_after"])

    assert hints == [1, 2, 10, 100, 300]
