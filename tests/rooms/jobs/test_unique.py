"""Unique keys: one job for one key, whoever enqueues it at the same moment, for as long as was promised."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from perdure import JobSpec, Unique
from perdure.core.errors import QueueSaturated
from perdure.jobs.bounds import Rule
from perdure.jobs.model import Enqueued
from perdure.jobs.ops import control
from perdure.jobs.ops.admission import declare
from perdure.jobs.ops.checkpoints import save
from perdure.jobs.ops.enqueue import enqueue_each
from perdure.jobs.ops.unique import release_keys, sweep_keys
from perdure.jobs.saves import Save
from tests.rooms.jobs.stage import Session, Stage, end

KEY = "order:9182"


def job(payload: str = '{"order_id": 9182}', **options: Any) -> JobSpec:
    """A job with a unique key, KEY unless another is said."""
    return JobSpec(task=options.pop("task", "ship"), payload=payload, unique=options.pop("unique", KEY), **options)


def write(stage: Stage, *specs: JobSpec, session: Session | None = None) -> list[Enqueued]:
    """Enqueue them in one transaction, unless the session is in one."""
    session = session or stage.main
    with session.conn.transaction():
        return session.run(enqueue_each(specs))


def keys(stage: Stage) -> int:
    """How many keys are held."""
    return stage.counts("unique_key")


def test_a_duplicate_is_told_of_the_job_there_is(stage: Stage) -> None:
    """Who enqueues a key again is given the id and the place of the job that holds it, and hears when that one has
    other arguments; their order and spacing don't matter [DW-59]. Red when the hash isn't compared."""
    [first] = write(stage, job('{"order_id": 9182, "express": true}', delay=timedelta(hours=1)))
    [same, other] = write(stage, job('{"express":true,"order_id":9182}'), job('{"order_id": 9183}'))

    assert (first.duplicate, first.place, first.differs) == (False, None, False)
    assert same == Enqueued(first.id, duplicate=True, place="scheduled", differs=False)
    assert other == Enqueued(first.id, duplicate=True, place="scheduled", differs=True)
    assert stage.places() == {first.id: "scheduled"}


def test_a_key_is_unique_for_the_database(stage: Stage) -> None:
    """Whoever writes the table by hand can't hold a key twice: the primary key says so [DW-157]. Red without it."""
    write(stage, job())

    with pytest.raises(psycopg.errors.UniqueViolation):
        stage.main.sql("insert into perdure.unique_key select * from perdure.unique_key")


def test_a_key_is_held_in_its_scope(stage: Stage) -> None:
    """The same key is another one for another task, unless its scope is the queue or everywhere [DW-60]. Red when the
    scope isn't part of the primary key."""
    task, other = write(stage, job(), job(task="bill"))
    queue, same_queue, other_queue = write(
        stage,
        job(unique=Unique(KEY, scope="queue"), queue="mail"),
        job(unique=Unique(KEY, scope="queue"), queue="mail", task="bill"),
        job(unique=Unique(KEY, scope="queue"), queue="reports"),
    )
    everywhere = Unique(KEY, scope="everywhere")
    first, second = write(
        stage, job(unique=everywhere, queue="mail"), job(unique=everywhere, queue="reports", task="bill")
    )

    assert len({task.id, other.id, queue.id, other_queue.id, first.id}) == 5
    assert (same_queue.id, second.id) == (queue.id, first.id)


def test_a_key_of_the_arguments_is_made_of_all_of_them(stage: Stage) -> None:
    """``unique=True``: the same arguments are the same job, in whatever order they stand; others are another."""
    spec = JobSpec(task="ship", payload='{"a": 1, "b": [2, {"x": 3, "y": 4}]}').options(unique=True)
    first, same, other = write(
        stage,
        spec,
        spec.with_payload('{"b":[2,{"y":4,"x":3}],"a":1}'),
        spec.with_payload('{"a": 1, "b": [2, {"x": 3, "y": 5}]}'),
    )

    assert same.id == first.id
    assert other.id != first.id


@pytest.mark.parametrize("session", ["finished", "archived"])
def test_history_does_not_open_a_key_again(stage: Stage, session: str) -> None:
    """A completed job's key stays taken for its lifetime, and also when the job's history has been dropped: a late
    duplicate is no second run [DW-161, DW-60]. Red when the key goes with the job's end, with its history, or with the
    next sweep."""
    worker = stage.worker()
    spec = job(unique=Unique(KEY, lifetime=timedelta(days=30)))
    [first] = write(stage, spec)
    stage.settle([end(stage.claim(worker)[0])], worker)
    if session == "archived":
        stage.main.sql("delete from perdure.history")
    stage.main.run(sweep_keys(0))

    [late] = write(stage, spec)

    assert late == Enqueued(first.id, duplicate=True, place="history" if session == "finished" else "gone")
    assert stage.claim(worker) == []


def test_a_key_without_a_lifetime_is_free_once_its_job_is_done(stage: Stage) -> None:
    """While its job is leased, waits for a retry or is dead a key is taken; whoever ends the job for good lets go of it
    in the same transaction. Red when the settlement keeps the key."""
    worker = stage.worker()
    [first] = write(stage, job())
    [claimed] = stage.claim(worker)
    [leased] = write(stage, job())
    stage.settle([end(claimed, "dead")], worker)
    [dead] = write(stage, job())
    stage.main.run(control.redrive(first.id))
    [again] = stage.claim(worker)
    stage.settle([end(again)], worker)

    assert [(each.id, each.place) for each in (leased, dead)] == [(first.id, "leased"), (first.id, "dead")]
    assert keys(stage) == 0
    [new] = write(stage, job())
    assert not new.duplicate


ENDINGS: dict[str, Callable[[Stage, int], object]] = {
    "cancel": lambda stage, id: stage.main.run(control.cancel(id)),
    "cancel_v1": lambda stage, id: stage.main.sql("select perdure.cancel_v1(%s)", [id]),
    "discard": lambda stage, id: _buried(stage) and stage.main.run(control.discard(id)),
}


def _buried(stage: Stage) -> bool:
    worker = stage.worker()
    return stage.settle([end(stage.claim(worker)[0], "dead")], worker) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_whoever_ends_a_job_lets_go_of_its_key(stage: Stage, ending: str) -> None:
    """A cancelled or discarded job leaves no key behind. Red when the ending doesn't see to it."""
    [first] = write(stage, job())
    ENDINGS[ending](stage, first.id)

    assert stage.places() == {first.id: "history"}
    assert keys(stage) == 0


def test_a_key_until_started_is_free_when_the_job_has_started(stage: Stage) -> None:
    """``until="started"``: a key is taken while its job waits to be started, and free from then on."""
    worker, spec = stage.worker(), job(unique=Unique(KEY, until="started"))
    [first] = write(stage, spec)
    [waits] = write(stage, spec)
    stage.claim(worker)
    [second] = write(stage, spec)

    assert (waits.id, waits.place) == (first.id, "ready")
    assert not second.duplicate
    assert stage.places() == {first.id: "leased", second.id: "ready"}


def test_a_key_until_expired_is_free_when_its_lifetime_is_over(stage: Stage) -> None:
    """``until="expired"``: a key is free after its lifetime and not before, whatever becomes of its job. Red when an
    expired key isn't freed by the next enqueue."""
    spec = job(unique=Unique(KEY, until="expired", lifetime=3_600))
    [first] = write(stage, spec)
    [within] = write(stage, spec)
    stage.main.sql("update perdure.unique_key set expires_at = now() - interval '1 s'")
    [after] = write(stage, spec)

    assert within.id == first.id
    assert stage.places() == {first.id: "ready", after.id: "ready"}


def test_a_key_with_a_lifetime_is_held_for_the_job_as_well(stage: Stage) -> None:
    """A job that runs for longer than its key's lifetime still holds it: two at once would be worse than a late one.
    Red when the lifetime alone decides."""
    [first] = write(stage, job(unique=Unique(KEY, lifetime=3_600)))
    stage.main.sql("update perdure.unique_key set expires_at = now() - interval '1 s'")
    [second] = write(stage, job(unique=Unique(KEY, lifetime=3_600)))

    assert second == Enqueued(first.id, duplicate=True, place="ready")


def test_a_key_whose_job_was_ended_by_an_older_worker_is_freed(stage: Stage) -> None:
    """A worker of the version before ends jobs and leaves their keys: the next enqueue of the key frees it, and the
    sweep drops those that nobody asks for, and no others. Red when a key is taken to be held because it is there."""
    worker = stage.worker()
    gone, swept, alive = write(stage, job(), job(unique="swept"), job(unique="alive", delay=timedelta(hours=1)))
    for claimed in stage.claim(worker):
        claimed.extras = None  # what it is told of the job, it doesn't know
        stage.settle([end(claimed)], worker)

    assert keys(stage) == 3
    [new] = write(stage, job())
    assert not new.duplicate
    assert stage.main.run(sweep_keys(0, 1)) == (1, swept.id)
    assert stage.main.run(sweep_keys(swept.id)) == (0, None)
    assert stage.main.sql("select array_agg(id order by id) from perdure.unique_key") == [([alive.id, new.id],)]
    assert gone.id not in (alive.id, new.id)


@pytest.mark.parametrize("place", ["ready", "scheduled", "held"])
def test_replace_gives_a_waiting_job_the_new_arguments(stage: Stage, place: str) -> None:
    """``on_conflict="replace"``: a job that waits is given the new arguments, options and due time, under its old id
    and in one place. Red when its old place keeps it."""
    [first] = write(stage, job(key="a", delay=timedelta(hours=1) if place == "scheduled" else None))
    if place == "held":
        worker = stage.worker()
        stage.settle([end(stage.claim(worker)[0], "held")], worker)
    spec = job('{"order_id": 1}', key="b", priority=2, tags=("t",), delay=timedelta(hours=2), on_conflict="replace")
    [later] = write(stage, spec)
    stands = stage.places()
    [now] = write(stage, spec.options(delay=None))

    assert later == Enqueued(first.id, duplicate=True, place=place, differs=True, replaced=True)
    assert stands == {first.id: "scheduled"}
    assert now == Enqueued(first.id, duplicate=True, place="scheduled", differs=False, replaced=True)
    assert stage.places() == {first.id: "ready"}
    found = stage.main.run(control.get(first.id))
    assert found is not None
    assert (found.payload, found.key, found.priority, list(found.tags)) == ({"order_id": 1}, "b", 2, ["t"])


@pytest.mark.parametrize("by", ["client", "sql"])
def test_a_replaced_job_leaves_what_belonged_to_its_old_arguments(stage: Stage, by: str) -> None:
    """Who is given other arguments doesn't go on from a checkpoint of the ones before, and isn't followed by what was
    to follow them; the client and enqueue_v1 agree. Red when a new import begins where the old one stood."""
    worker = stage.worker()
    [first] = write(stage, job().then(JobSpec(task="bill", payload="{}")))
    [claimed] = stage.claim(worker)
    stage.main.run(save([Save(claimed.id, claimed.generation, 1, 1, "500")]))
    stage.settle([end(claimed, "retry")], worker)
    assert (stage.counts("checkpoint"), stage.counts("follow_up")) == (1, 1)

    if by == "client":
        [again] = write(stage, job('{"order_id": 1}', on_conflict="replace"))
        assert again.replaced
    else:
        stage.main.sql("select perdure.enqueue_v1('ship', '{}', unique_key => %s, on_conflict => 'replace')", [KEY])

    assert stage.places() == {first.id: "ready"}
    assert (stage.counts("checkpoint"), stage.counts("follow_up")) == (0, 0)


def test_replace_takes_a_waiting_job_to_a_queue_that_nobody_has_used(stage: Stage) -> None:
    """A replacement may say another queue, also one that has no row yet: it is made, as any enqueue makes it. Red when
    the missing queue is taken for a job that runs, and the new arguments are dropped."""
    [first] = write(stage, job(delay=timedelta(hours=1)))
    [moved] = write(stage, job('{"order_id": 1}', queue="never-used", on_conflict="replace"))

    assert moved == Enqueued(first.id, duplicate=True, place="scheduled", differs=True, replaced=True)
    found = stage.main.run(control.get(first.id))
    assert found is not None
    assert (found.place, found.queue, found.payload) == ("ready", "never-used", {"order_id": 1})


def test_replace_leaves_a_job_alone_that_is_leased_or_being_claimed(stage: Stage) -> None:
    """A job that runs, or that a claim has in its hands at this moment, isn't replaced, and its enqueuer hears so. Red
    when the replacement waits for the claim, or writes behind its back."""
    worker, claimer = stage.worker(), stage.session()
    [first] = write(stage, job())
    claimer.begin()
    assert stage.claim(worker, session=claimer)
    [meanwhile] = write(stage, job('{"order_id": 1}', on_conflict="replace"))
    claimer.commit()
    [after] = write(stage, job('{"order_id": 1}', on_conflict="replace"))

    assert meanwhile == Enqueued(first.id, duplicate=True, place="ready", differs=True, replaced=False)
    assert after == Enqueued(first.id, duplicate=True, place="leased", differs=True, replaced=False)
    assert stage.main.sql("select payload ->> 'order_id' from perdure.job") == [("9182",)]


def test_a_duplicate_says_that_its_follow_ups_are_dropped(stage: Stage) -> None:
    """Follow-ups of an enqueue that found its key taken aren't added to the job that is there, and the answer says how
    many; those of a replacement are kept. Red when they are dropped silently."""
    bill = JobSpec(task="bill", payload="{}")
    [first] = write(stage, job().then(bill))
    [again] = write(stage, job().then(bill).on_death(bill))
    [replaced] = write(stage, job(on_conflict="replace").then(bill))

    assert (first.dropped_follow_ups, again.dropped_follow_ups, replaced.dropped_follow_ups) == (0, 2, 0)
    assert stage.main.sql("select job from perdure.follow_up") == [(first.id,)]


def test_only_keys_without_a_lifetime_go_with_their_jobs(stage: Stage) -> None:
    """Letting go of the keys of some jobs leaves those that have a lifetime, and everybody else's."""
    first, second, third = write(stage, job(), job(unique=Unique("b", lifetime=60)), job(unique="c"))
    stage.main.run(release_keys([first.id, second.id]))

    assert stage.main.sql("select id from perdure.unique_key order by id") == [(second.id,), (third.id,)]


def test_the_tables_of_idempotency_exist(stage: Stage) -> None:
    """The tables of unique keys and of what handlers have done once are there, beside history [DW-160]."""
    found = stage.main.sql(
        "select count(*) from pg_class where relnamespace = 'perdure'::regnamespace "
        "and relname in ('unique_key', 'effect', 'history') and relkind in ('r', 'p')"
    )

    assert found == [(3,)]


def test_a_duplicate_needs_no_room_in_a_full_queue(stage: Stage) -> None:
    """In a queue that takes no more, a key that is taken is answered as ever, one that is free is refused, and its
    mates are not left written. Red when room is asked for before the keys are looked at."""
    stage.main.run(declare([Rule(name="default", max_depth=1, when_full="reject")], "test"))
    [first] = write(stage, job())
    [again] = write(stage, job())
    with pytest.raises(QueueSaturated):
        write(stage, job(), job(unique="other"))

    assert again == Enqueued(first.id, duplicate=True, place="ready")
    assert stage.places() == {first.id: "ready"}
    assert keys(stage) == 1
