"""Unique keys of many jobs in one call: each answer in its place, and all of them or none."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perdure import JobSpec
from perdure.core import limits
from perdure.core.errors import DuplicateJob, QueueSaturated
from perdure.jobs.bounds import Rule
from perdure.jobs.ops.admission import declare
from perdure.jobs.ops.enqueue import enqueue, enqueue_each
from tests.rooms.jobs.stage import Stage
from tests.rooms.jobs.test_unique import job, keys, write


def test_raise_names_the_job_and_writes_none_of_its_mates(stage: Stage) -> None:
    """``on_conflict="raise"`` is an error with the job's id and place, and nothing of the call is left in a transaction
    that its caller goes on with. Red when what was written before the conflict stays."""
    [first] = write(stage, job())
    stage.main.begin()
    with pytest.raises(DuplicateJob) as caught:
        stage.main.run(
            enqueue_each(
                [
                    JobSpec(task="plain", payload="{}"),
                    job(unique="mate", delay=timedelta(hours=1)),
                    job(unique="other"),
                    job('{"order_id": 1}', on_conflict="raise"),
                ]
            )
        )
    stage.main.commit()

    assert (caught.value.job_id, caught.value.place, caught.value.differs) == (first.id, "ready", True)
    assert stage.places() == {first.id: "ready"}
    assert keys(stage) == 1


@pytest.mark.parametrize("refusing", ["key", "queue"])
def test_a_refused_call_takes_back_what_it_has_replaced_and_discarded(stage: Stage, refusing: str) -> None:
    """When one job of a call is refused, the job that another one has replaced has the arguments that it had, and what
    gave way for a third is where it was, in a transaction that its caller goes on with. Red when only what the call
    has written anew is taken back."""
    with stage.main.conn.transaction():
        rules = [
            Rule(name="full", max_depth=1, when_full="shed_lowest"),
            Rule(name="shut", max_depth=1, when_full="reject"),
        ]
        stage.main.run(declare(rules, "shop"))
    first, _, least, _ = write(
        stage,
        job('{"order_id": 1}'),
        job(unique="taken"),
        JobSpec(task="least", payload="{}", queue="full", priority=9),
        JobSpec(task="only", payload="{}", queue="shut"),
    )
    before = stage.main.sql("select id, payload::text, pos from perdure.job order by id"), stage.places()
    specs = [
        job('{"order_id": 99}', on_conflict="replace"),
        job(unique="urgent", queue="full", priority=0),
        job(unique="taken", on_conflict="raise")
        if refusing == "key"
        else JobSpec(task="b", payload="{}", queue="shut"),
    ]

    stage.main.begin()
    with pytest.raises(DuplicateJob if refusing == "key" else QueueSaturated):
        stage.main.run(enqueue_each(specs))
    stage.enqueue(queue="afterwards")
    stage.main.commit()

    [*kept, (own, _, _)] = stage.main.sql("select id, payload::text, pos from perdure.job order by id")
    assert (kept, {id: place for id, place in stage.places().items() if id != own}) == before
    assert keys(stage) == 2
    assert {first.id, least.id} < {id for id, _, _ in kept}


def test_a_key_that_comes_twice_in_one_call_is_named_by_its_place(stage: Stage) -> None:
    """``on_conflict="raise"`` on a key that another job of the same call has taken names that one's place, because the
    id that it was to have isn't written. Red when the error gives that id."""
    stage.main.begin()
    with pytest.raises(DuplicateJob) as caught:
        stage.main.run(
            enqueue_each([JobSpec(task="plain", payload="{}"), job(), job('{"order_id": 1}', on_conflict="raise")])
        )
    stage.main.commit()

    assert (caught.value.twin, caught.value.job_id, caught.value.place) == (1, None, None)
    assert str(caught.value).startswith(
        "jobs[2].unique: 'order:9182' is taken by jobs[1] of the same call, which has other arguments; "
    )
    assert (stage.places(), keys(stage)) == ({}, 0)


def test_plain_and_unique_jobs_may_be_mixed(stage: Stage) -> None:
    """In one call of many, each job's answer stands where the job stood; a key that comes twice in it is written once,
    and jobs without a key are written as ever."""
    specs = [
        JobSpec(task="a", payload="{}"),
        job(unique="1"),
        JobSpec(task="b", payload="{}", delay=timedelta(hours=1)),
        job(unique="2"),
        job(unique="1"),
    ]
    written = write(stage, *specs)
    ids = stage.main.run(enqueue(specs[1:2]))
    tasks = dict(stage.main.sql("select id, task from perdure.job"))

    assert [tasks[each.id] for each in written] == ["a", "ship", "b", "ship", "ship"]
    assert [each.duplicate for each in written] == [False, False, False, False, True]
    assert (written[4].id, ids) == (written[1].id, [written[1].id])


@pytest.mark.parametrize("alike", [True, False], ids=["alike", "different"])
def test_of_many_those_whose_keys_are_free_are_written_in_their_order(stage: Stage, alike: bool) -> None:
    """Of many at once, differing in their keys alone or in more, those whose keys are taken, or come twice, are told so
    in their places, and the others are written in the order given with their own arguments; a key may hold any
    character. Red when one that isn't free rolls back its mates, or the answers are those of their neighbours."""
    [held] = write(stage, job(unique="m"))
    names = ["z", "m", "b", "\x1f" if not alike else "y", "a", "b"]
    specs = [job(f'{{"n": {n}}}', unique=name, priority=None if alike else n % 2 + 4) for n, name in enumerate(names)]
    found = write(stage, *specs)
    mine = [each.id for each in found if not each.duplicate]
    bodies = stage.main.sql("select (payload ->> 'n')::int from perdure.job where id = any(%s) order by id", [mine])

    assert [each.duplicate for each in found] == [False, True, False, False, False, True]
    assert (found[1].id, found[5].id) == (held.id, found[2].id)
    assert mine == sorted(mine)
    assert [n for (n,) in bodies] == [0, 2, 3, 4]
    assert stage.places() == dict.fromkeys([held.id, *mine], "ready")
    assert keys(stage) == 5


@pytest.mark.parametrize("transaction", [True, False])
def test_a_key_that_is_taken_in_a_later_statement_of_a_call_is_met_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, transaction: bool
) -> None:
    """A call that takes several statements, and meets a taken key in the second one, writes every other job once, in a
    transaction and on a connection without one. Red when what an earlier statement has written is written again, or
    met as if it were somebody else's."""
    monkeypatch.setattr(limits, "ENQUEUE_STATEMENT_ROWS_MAX", 2)
    [held] = write(stage, job(unique="c"))
    specs = [job(unique=name) for name in "abcde"]
    found = write(stage, *specs) if transaction else stage.main.run(enqueue_each(specs))

    assert [each.duplicate for each in found] == [False, False, True, False, False]
    assert stage.places() == dict.fromkeys(sorted({each.id for each in found} | {held.id}), "ready")
    assert keys(stage) == 5


def test_a_key_that_holds_the_separator_is_one_key(stage: Stage) -> None:
    """Keys go to Postgres as one text; one that holds what stands between them is still one. Red when it is split."""
    found = write(stage, *[job(unique=f"a\x1f{n}") for n in range(2)])

    assert [each.duplicate for each in found] == [False, False]
    assert stage.main.sql("select key from perdure.unique_key order by key") == [("a\x1f0",), ("a\x1f1",)]
