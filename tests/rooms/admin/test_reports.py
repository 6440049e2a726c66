"""The reports on prepared data: each says what is there, and what is to be done."""

from __future__ import annotations

from typing import Any

from perdure.admin import reports
from perdure.core.backoff import Retry
from perdure.fleet.ops import workers
from perdure.jobs.ops.queues import ensure, pause
from perdure.jobs.work import Verdict
from tests.rooms.jobs.stage import Stage, end


def answer(stage: Stage, name: str) -> list[dict[str, Any]]:
    """What the report says now."""
    return stage.main.run(reports.answer(reports.find(name)))


def brief(stage: Stage, name: str, *columns: str) -> list[tuple[Any, ...]]:
    """Some columns of it."""
    return [tuple(row[column] for column in columns) for row in answer(stage, name)]


def test_the_oldest_ready_job_of_each_queue(stage: Stage) -> None:
    """The oldest job that is ready and due is named for each queue with its age; what is due later doesn't count, and
    the age of a promoted one counts from when it was due [DW-163]."""
    mail = stage.main.run(ensure(["mail"]))["mail"]
    first, _ = stage.enqueue(2)
    (other,) = stage.enqueue(queue="mail")
    stage.enqueue(delay=60.0)
    stage.main.sql("update perdure.job set created_at = now() - interval '1 hour' where id = %s", [first])
    stage.main.sql(
        "update perdure.job set created_at = now() - interval '2 days', run_at = now() where id = %s", [other]
    )
    found = answer(stage, "jobs.oldest_ready")

    assert [(row["queue"], row["ready"], row["id"]) for row in found] == [("default", 2, first), ("mail", 1, other)]
    assert 3_600 <= found[0]["waiting_seconds"] < 3_700
    assert found[1]["waiting_seconds"] < 600
    assert mail


def test_leases_past_their_trust(stage: Stage) -> None:
    """Jobs of a worker that is silent, dead or forgotten are listed with it; those of a living one, and jobs that have
    left their lease, aren't [DW-163]."""
    good, silent, dead = stage.worker("good"), stage.worker("silent"), stage.worker("dead")
    stage.enqueue(9)
    kept, left, lost = stage.claim(good, 2), stage.claim(silent, 3), stage.claim(dead, 4)
    stage.settle([end(left[0])], silent)
    stage.silence(silent)
    stage.lose(dead)

    assert brief(stage, "leases.lost", "name", "state", "id") == [
        *[("silent", "alive", job.id) for job in left[1:]],
        *[("dead", "dead", job.id) for job in lost],
    ]
    assert kept


def test_the_dead_with_their_reasons(stage: Stage) -> None:
    """Each dead job is listed with its reason, its attempts and the last line of its error, and they are counted by
    reason and task with what is held [DW-163]."""
    worker = stage.worker()
    stage.enqueue(4)
    one, two, three, four = stage.claim(worker)
    stage.settle(
        [
            end(one, "dead", text="Traceback:\n  line 1\nValueError: no paper\n"),
            end(two, "dead", reason="permanent", text="gone"),
            end(three, "dead", text="ValueError: no paper"),
            end(four, "held"),
        ],
        worker,
    )
    found = {row["id"]: (row["reason"], row["attempt"], row["error"]) for row in answer(stage, "jobs.dead")}

    assert found == {
        one.id: ("exhausted", 1, "ValueError: no paper"),
        two.id: ("permanent", 1, "gone"),
        three.id: ("exhausted", 1, "ValueError: no paper"),
    }
    assert brief(stage, "jobs.reasons", "place", "reason", "task", "jobs") == [
        ("dead", "exhausted", "work", 2),
        ("dead", "permanent", "work", 1),
        ("held", "unknown_task", "work", 1),
    ]


def test_counts_by_place_and_by_attempt(stage: Stage) -> None:
    """Live jobs are counted by queue, task and place, and by how often they have failed [DW-164]."""
    worker = stage.worker()
    stage.enqueue(9)
    claimed = stage.claim(worker, 5)
    verdicts: list[Verdict] = ["retry", "dead", "held", "completed"]
    stage.settle([end(job, verdict) for job, verdict in zip(claimed, verdicts, strict=False)], worker)

    assert brief(stage, "jobs.places", "queue", "task", "place", "jobs") == [
        ("default", "work", place, count)
        for place, count in (("ready", 4), ("dead", 1), ("held", 1), ("leased", 1), ("scheduled", 1))
    ]
    assert brief(stage, "jobs.attempts", "attempts", "jobs") == [(1, 2), (0, 6)]


def test_what_is_due_next_and_which_keys_wait(stage: Stage) -> None:
    """Scheduled jobs come in the order of their due time; keys come by how many of their jobs wait, the dead aside
    [DW-164]."""
    later, sooner = stage.enqueue(delay=60.0, key="b")[0], stage.enqueue(delay=30.0, key="b")[0]
    stage.enqueue(3, key="a")
    stage.enqueue(1)
    found = answer(stage, "jobs.next_due")

    assert [row["id"] for row in found] == [sooner, later]
    assert 20 < found[0]["due_in_seconds"] <= 30
    assert brief(stage, "jobs.keys", "key", "queue", "jobs") == [("a", "default", 3), ("b", "default", 2)]


def test_what_runs_where_and_since_when(stage: Stage) -> None:
    """Running jobs are listed with their worker, the oldest first; workers with how much each holds; the silent ones
    and the ends of runs are told [DW-164]."""
    one, two, idle = stage.worker("one"), stage.worker("two"), stage.worker("idle")
    stage.enqueue(3)
    [young] = stage.claim(two, 1)
    old = stage.claim(one, 2)
    stage.main.sql("update perdure.lease set claimed_at = now() - interval '1 hour' where worker = %s", [one.id])
    running = brief(stage, "jobs.running", "worker", "id", "attempt")
    load = brief(stage, "workers.load", "name", "jobs")
    stage.silence(two)
    stale = brief(stage, "workers.stale", "name", "jobs")
    stage.lose(two)
    stage.main.run(workers.leave(idle.id))
    runs = brief(stage, "workers.runs", "name", "clean", "cause")

    assert running == [*[("one", job.id, 1) for job in old], ("two", young.id, 1)]
    assert load == [("one", 2), ("two", 1), ("idle", 0)]
    assert stale == [("two", 1)]
    assert runs == [
        ("one", None, None),
        ("idle", True, None),
        ("two", False, "it fell silent: killed, frozen, or cut off"),
    ]


def test_one_question_answers_what_a_stuck_job_is_asked(stage: Stage) -> None:
    """For a job of every kind one query says who claimed it, until when its lease is good, how often it was tried, and
    whether the next step is a retry, the dead, or a person's [DW-165]. Red when a place is forgotten."""
    stage.main.run(ensure(["paused", "alone"]))
    stage.main.run(pause("paused"))
    worker, lost = stage.worker("mailer"), stage.worker("lost")
    last = stage.enqueue(retry=Retry(max_attempts=1))[0]
    runs, fails, dies, parked = stage.enqueue(4)
    jobs = {job.id: job for job in stage.claim(worker)}
    stage.settle([end(jobs[fails], "retry"), end(jobs[dies], "dead"), end(jobs[parked], "held")], worker)
    comes_back = stage.enqueue()[0]
    once = stage.enqueue(at_most_once=True)[0]
    stage.claim(lost)
    stage.lose(lost)
    waits, alone, later = (
        stage.enqueue(queue="paused")[0],
        stage.enqueue(queue="alone")[0],
        stage.enqueue(delay=60.0)[0],
    )
    stage.enqueue()
    sleeps = stage.enqueue()[0]
    stage.main.sql("delete from perdure.ready where id = %s", [sleeps])
    stage.main.sql("insert into perdure.waiting (id) values (%s)", [sleeps])
    found = {row["id"]: row for row in answer(stage, "jobs.stuck")}

    assert {id: (row["place"], row["next_action"]) for id, row in found.items()} == {
        last: ("leased", "dead_letter"),
        runs: ("leased", "retry"),
        fails: ("scheduled", "retry"),
        dies: ("dead", "manual"),
        parked: ("held", "manual"),
        comes_back: ("leased", "retry"),
        once: ("leased", "dead_letter"),
        waits: ("ready", "manual"),
        alone: ("ready", "manual"),
        later: ("scheduled", "start"),
        sleeps: ("waiting", "start"),
    }
    assert (found[runs]["claimed_by"], found[runs]["attempts"]) == ("mailer", 0)
    assert found[runs]["lease_until"] is not None
    assert (found[fails]["attempts"], found[last]["attempts_max"]) == (1, 1)
    assert found[waits]["act"] == "perdure queues resume paused"
    assert "perdure worker APP --queues alone" in found[alone]["act"]
    assert f"perdure jobs redrive {dies}" in found[dies]["act"]
    stage.lose(worker)
    nobody = {row["id"]: row["next_action"] for row in answer(stage, "jobs.stuck")}
    assert set(nobody.values()) == {"manual", "start"}
    assert nobody[sleeps] == "start"
    assert answer(stage, "jobs.misplaced") == []
    assert ("waiting", 1) in brief(stage, "jobs.places", "place", "jobs")


def test_a_report_stays_short(stage: Stage) -> None:
    """However many jobs there are, what a report shows is bounded: a person reads it."""
    stage.main.sql(
        "insert into perdure.job (id, pos, created_at, lane, task, key, payload) "
        "select n, n, now(), 4101, 'task' || n, 'key' || n, '{}' from generate_series(1, 1200) n"
    )

    assert {each.name: True for each in reports.catalogue() if len(answer(stage, each.name)) > 1_000} == {}
