"""Unique keys between transactions: who waits for whom, and who for nobody."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from perdure import Client
from perdure.app.client import opening
from perdure.core.errors import TransactionConflict
from perdure.core.op import Op
from perdure.jobs.model import Enqueued
from perdure.jobs.ops.enqueue import enqueue_each
from tests.conftest import Database
from tests.rooms.client.patience import patient
from tests.rooms.jobs.stage import PATIENCE_SECONDS, Session, Stage, end
from tests.rooms.jobs.test_unique import KEY, job, keys, write


def test_fifty_enqueues_at_once_write_one_job(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty threads enqueue the same key at the same moment: one job, and every caller has its id; one of them wrote it
    [DW-58]. Red without the conflict clause, whose callers would see a violated constraint."""
    monkeypatch.setattr(opening, "CONNECTION_SECONDS_MAX", 60.0)  # fifty share the ten of a client
    meeting = threading.Barrier(50)

    def enqueue_it(client: Client) -> Enqueued:
        meeting.wait(30)
        return client.jobs.enqueue(job())

    with Client(patient(db)) as client, ThreadPoolExecutor(50) as threads:
        written = list(threads.map(lambda _: enqueue_it(client), range(50)))

    assert len({each.id for each in written}) == 1
    assert [each.duplicate for each in written].count(False) == 1
    assert db.connect().execute("select count(*) from perdure.job").fetchone() == (1,)


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_a_second_caller_waits_for_the_first_one_s_transaction(stage: Stage, how: str) -> None:
    """Whether a key that an open transaction has written is taken is known when that ends: the second caller waits, and
    then has the first one's job, or its own. Red when a key is looked for before it is written."""
    first, second = stage.session(), stage.session()
    first.begin()
    [written] = first.run(enqueue_each([job()]))
    waiting = second.start(enqueue_each([job()]))
    stage.blocked(second, by=first)
    getattr(first, how)()
    [answer] = waiting.result(30)

    assert answer.duplicate is (how == "commit")
    assert (answer.id == written.id) is (how == "commit")
    assert len(stage.places()) == 1


@pytest.mark.parametrize("met", ["", "0"], ids=["all free", "one taken"])
def test_keys_are_taken_in_ascending_order(stage: Stage, met: str) -> None:
    """Of keys that come in descending order the lowest is taken first, also when one of them is taken already: two
    callers of the same keys wait for each other in turn and never in a circle. Red without the order of either
    insert."""
    write(stage, *[job(unique=key) for key in met])
    bystander, actor = stage.session(), stage.session()
    bystander.begin()
    bystander.run(enqueue_each([job(unique="b")]))
    actor.begin()
    waiting = actor.start(enqueue_each([job(unique=key) for key in "cba" + met]))
    stage.blocked(actor, by=bystander)

    stage.main.sql("set lock_timeout = '10s'")
    write(stage, job(unique="c"))
    stage.main.sql("set lock_timeout = '50ms'")
    with pytest.raises(Exception, match="lock timeout"):
        write(stage, job(unique="a"))
    bystander.rollback()
    waiting.result(30)
    actor.commit()


def test_many_wait_for_one_key_and_keep_the_others(stage: Stage) -> None:
    """Many at once, of which an open transaction has the middle key, wait for it, and then the others are written, each
    once. Red when the whole call is taken for duplicates, or fails on the violated constraint."""
    holder, waiter = stage.session(), stage.session()
    holder.begin()
    [held] = holder.run(enqueue_each([job(unique="b")]))
    waiter.begin()
    waiting = waiter.start(enqueue_each([job(unique=key) for key in "abc"]))
    stage.blocked(waiter, by=holder)
    holder.commit()
    first, second, third = waiting.result(30)
    waiter.commit()

    assert [each.duplicate for each in (first, second, third)] == [False, True, False]
    assert second.id == held.id
    assert stage.places() == dict.fromkeys([first.id, held.id, third.id], "ready")
    assert keys(stage) == 3


def test_a_key_that_changes_hands_under_a_call_of_many_locks_nobody_in_a_circle(stage: Stage) -> None:
    """A call of many has the higher key and asks again for the lower one, which nobody needed any more; meanwhile that
    was freed, and taken by another call, which waits for the higher one: both go through, and each key has one job. Red
    when the one that Postgres ends isn't begun again [DW-58]."""
    asked, go = threading.Event(), threading.Event()

    def held_up(op: Op[list[Enqueued]]) -> Op[list[Enqueued]]:
        call = next(op)
        while True:
            if call.statement.name == "jobs.free_keys" and not asked.is_set():
                asked.set()
                go.wait(PATIENCE_SECONDS)
            try:
                found = yield call
            except Exception as error:
                call = op.throw(error)
                continue
            try:
                call = op.send(found)
            except StopIteration as done:
                told: list[Enqueued] = done.value
                return told

    def end_it(session: Session) -> list[Enqueued]:
        session.sql("set deadlock_timeout = '50ms'")
        with session.conn.transaction():
            return session.run(held_up(enqueue_each(jobs)) if session is first else enqueue_each(jobs))

    worker, first, second, jobs = stage.worker(), stage.session(), stage.session(), [job(unique=key) for key in "bc"]
    write(stage, jobs[0])
    [claimed] = stage.claim(worker)
    claimed.extras = None  # its worker doesn't know of keys, and leaves this one
    stage.settle([end(claimed)], worker)

    one = first.background(lambda: end_it(first))
    assert asked.wait(PATIENCE_SECONDS)
    stage.main.sql("delete from perdure.unique_key where key = 'b'")
    other = second.background(lambda: end_it(second))
    stage.blocked(second, by=first)
    go.set()
    found = [*one.result(PATIENCE_SECONDS), *other.result(PATIENCE_SECONDS)]

    assert sorted(each.duplicate for each in found) == [False, False, True, True]
    assert found[0].id == found[2].id
    assert found[1].id == found[3].id
    assert (keys(stage), stage.counts("ready")) == (2, 2)


def test_under_repeatable_read_many_begin_again(stage: Stage) -> None:
    """Under REPEATABLE READ a call of many that meets a key which its snapshot can't see gets a serialisation error,
    and not an answer about a job that it can't look at. Red when the violated constraint is answered by itself."""
    other = stage.session()
    other.sql("begin isolation level repeatable read")
    other.sql("select 1 from perdure.job")
    write(stage, job(unique="b"))
    with pytest.raises(TransactionConflict):
        other.run(enqueue_each([job(unique=key) for key in "ab"]))
    other.rollback()


@pytest.mark.parametrize("mates", [0, 1])
def test_a_key_that_is_met_is_neither_locked_nor_written(stage: Stage, mates: int) -> None:
    """An enqueue that finds its key taken, alone or among others, leaves the row as it was, and doesn't wait for
    whoever has locked it. Red with DO UPDATE in the place of DO NOTHING."""
    versions = f"select xmin::text, xmax::text, ctid::text from perdure.unique_key where key = '{KEY}'"
    write(stage, job())
    before = stage.main.sql(versions)
    holder = stage.session()
    duplicate, *_ = write(stage, job(), *[job(unique="a") for _ in range(mates)])
    after = stage.main.sql(versions)
    holder.begin()
    holder.sql("select from perdure.unique_key for update")
    stage.main.sql("set lock_timeout = '10s'")
    while_locked, *_ = write(stage, job(), *[job(unique="b") for _ in range(mates)])

    assert (duplicate.duplicate, while_locked.duplicate) == (True, True)
    assert before == after


def test_a_settlement_does_not_wait_for_a_key(stage: Stage) -> None:
    """A key that somebody has locked is left behind by the settlement of its job, which waits for nobody; the next
    enqueue frees it. Red without SKIP LOCKED."""
    worker, holder = stage.worker(), stage.session()
    write(stage, job())
    [claimed] = stage.claim(worker)
    holder.begin()
    holder.sql("select from perdure.unique_key for update")
    stage.main.sql("set lock_timeout = '10s'")
    assert stage.settle([end(claimed)], worker) == []
    holder.rollback()

    assert keys(stage) == 1
    assert [each.duplicate for each in write(stage, job())] == [False]
