"""``perdure jobs``, ``queues``, ``workers``, ``status``: looking, and acting on what is seen."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import psycopg
import pytest

from perdure.cli.program import run
from tests.cli.conftest import Ask
from tests.cli.terminal import running, until
from tests.conftest import Database


def test_a_job_is_listed_and_shown(ask: Ask) -> None:
    """What was enqueued is found by queue, place, task and tag, a page at a time, and shown with all that was said."""
    for number in range(5):
        ask("enqueue", "send", f"order_id={number}", "--queue", "mail", "--tag", f"t{number % 2}")
    ask("enqueue", "later", "--delay", "3600", "--key", "order:9182", "--priority", "2")

    first = ask("jobs", "--queue", "mail", "--limit", "3")
    second = ask("jobs", "list", "--queue", "mail", "--limit", "3", "--cursor", str(first["next"]))
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == [5, 4, 3, 2, 1]
    assert second["next"] is None
    assert [job["id"] for job in ask("jobs", "--place", "scheduled")["jobs"]] == [6]
    assert [job["id"] for job in ask("jobs", "--task", "later")["jobs"]] == [6]
    assert [job["id"] for job in ask("jobs", "--tag", "t1")["jobs"]] == [4, 2]
    shown = ask("jobs", "get", "6")
    assert (shown["task"], shown["key"], shown["place"], shown["attempt"]) == ("later", "order:9182", "scheduled", 0)
    assert ask("jobs", "get", "1")["payload"] == {"order_id": 0}


def test_waiting_jobs_are_cancelled_and_hurried(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    """Several ids at once, each answered for itself; one that can't be acted on is an error of its own."""
    ask("enqueue", "send")
    ask("enqueue", "later", "--delay", "3600")

    assert ask("jobs", "retry", "2") == [{"id": 2, "answer": "ready"}]
    assert ask("jobs", "get", "2")["place"] == "ready"
    answers = ask("jobs", "cancel", "1", "99", "2", "--reason", "not wanted", code=1)
    assert [each.get("answer") for each in answers] == ["cancelled", None, "cancelled"]
    assert answers[1]["error"]["code"] == "job_not_found"
    assert ask("jobs", "get", "1")["error"] == "not wanted"
    assert ask("jobs", "cancel", "1") == [{"id": 1, "answer": "finished"}]
    assert run(["jobs", "redrive", "1"]) == 1
    assert "error: job 1: stands in history; redrive what is dead" in capsys.readouterr().err


def test_a_job_is_paused_and_resumed(ask: Ask) -> None:
    """A job that waits is set aside and returns; who isn't paused is told so, and the others are done. Red without the
    command's call of the act."""
    ask("enqueue", "send")
    ask("enqueue", "later", "--delay", "3600")

    assert [each["answer"] for each in ask("jobs", "pause", "1", "2")] == ["paused", "paused"]
    assert {job["reason"] for job in ask("jobs", "--place", "held")["jobs"]} == {"paused"}
    assert ask("explain", "1")["fix"] == "perdure jobs resume 1"
    assert ask("jobs", "resume", "2") == [{"id": 2, "answer": "resumed"}]
    assert [job["place"] for job in ask("jobs")["jobs"]] == ["scheduled", "held"]
    answers = ask("jobs", "resume", "1", "2", code=1)
    assert (answers[0]["answer"], answers[1]["error"]["code"]) == ("resumed", "job_error")


def test_a_worker_that_is_silent_is_told_in_the_status(
    ask: Ask, db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker that was killed, and that nobody is left to declare dead, doesn't stand there as one that works. Red
    when its state alone is shown."""
    ask("enqueue", "send")
    with psycopg.connect(db.url) as conn:
        conn.execute(
            "insert into perdure.worker (name, host, pid, slots, queues, expires_at) values "
            "('a', 'h', 1, 1, '{}', now() - interval '1 min'), ('b', 'h', 2, 1, '{}', now() + interval '1 hour')"
        )

    assert run(["status"]) == 0
    assert re.search(r"\nworkers\tb \(for [^)]+\), a \(silent\)\n", capsys.readouterr().out)


def test_a_dead_job_is_explained_redriven_and_discarded(
    ask: Ask, db: Database, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What gave up is seen with its last error and its attempts, runs again when redriven, and is filed when
    discarded; what completed has its result [DW-4]. Red without the command's call of the act.
    """
    ask("enqueue", "fails", "--queue", "mail")
    ask("enqueue", "send_receipt", "order_id=9182", "--queue", "mail")
    with running("worker", "shop:app", url=db.url, cwd=home) as worker:
        assert ask("jobs", "wait", "2", "--timeout", "60") == "receipt for order 9182"
        until("the job to give up", lambda: ask("jobs", "get", "1")["place"] == "dead")
        (row,) = ask("workers")
        assert (row["state"], row["pid"]) == ("alive", worker.pid)
        assert ask("status")["workers"][0]["id"] == row["id"]
        dead = ask("jobs", "get", "1")
        assert "ValueError: no paper" in dead["error"]
        assert run(["jobs", "--place", "dead"]) == 0
        assert "\tValueError: no paper; attempt 1 of 1 failed\n" in capsys.readouterr().out
        assert run(["jobs", "wait", "1"]) == 1
        assert "job 1: is dead (exhausted): ValueError: no paper; attempt 1 of 1 failed;" in capsys.readouterr().err
        assert ask("jobs", "redrive", "1") == [{"id": 1, "answer": "ready"}]
        until("it to give up again", lambda: len(ask("jobs", "attempts", "1")) == 2)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.ended() == 0

    assert [each["ending"] for each in ask("jobs", "attempts", "1")] == ["dead", "dead"]
    assert ask("jobs", "discard", "1", "--reason", "no use") == [{"id": 1, "answer": "discarded"}]
    assert ask("jobs", "get", "1")["outcome"] == "discarded"
    assert [row["state"] for row in ask("workers")] == ["left"]


def test_a_queue_is_paused_and_resumed(ask: Ask) -> None:
    """Pausing shows in the list of queues, with what stands where; resuming takes it back."""
    ask("enqueue", "send", "--queue", "mail")
    ask("enqueue", "send", "--queue", "mail", "--delay", "3600")

    assert ask("queues", "pause", "mail") == {"queue": "mail", "state": "paused"}
    (queue,) = [each for each in ask("queues") if each["name"] == "mail"]
    assert queue["paused_at"] is not None
    assert (queue["ready"], queue["scheduled"], queue["leased"], queue["dead"]) == (1, 1, 0, 0)
    ask("queues", "resume", "mail")
    assert [each["paused_at"] for each in ask("status")["queues"] if each["name"] == "mail"] == [None]


def test_what_is_shown_to_people_says_the_same(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    """Without ``--json`` each command writes lines: the columns' names, then a row for each."""
    ask("enqueue", "send", "order_id=9182", "--queue", "mail")

    def lines(*arguments: str) -> list[list[str]]:
        assert run(list(arguments)) == 0
        return [line.split("\t") for line in capsys.readouterr().out.splitlines()]

    listed = lines("jobs")
    assert listed[0][:5] == ["id", "task", "queue", "key", "place"]
    assert listed[1][:5] == ["1", "send", "mail", "", "ready"]
    assert ["payload", '{"order_id":9182}'] in lines("jobs", "get", "1")
    assert lines("queues")[1][:2] == ["mail", "1"]
    assert lines("workers")[0][0] == "id"
    assert lines("jobs", "attempts", "1")[0][0] == "attempt"
    assert lines("jobs", "cancel", "1") == [["job 1: cancelled"]]
    assert lines("queues", "pause", "mail") == [["mail is paused"]]
    assert lines("status")[2][0] == "schema"


def test_a_job_is_explained(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    """``perdure explain`` says why a job waits and what to do; of no job it says that there is none."""
    ask("enqueue", "send", "--queue", "mail")

    found = ask("explain", "1")
    assert (found["place"], found["code"]) == ("ready", "no_worker")
    assert found["fix"] == "start one: perdure worker APP --queues mail:10"
    assert run(["explain", "1"]) == 0
    assert "no worker that lives works on the queue mail" in capsys.readouterr().out
    assert run(["explain", "2"]) == 1
    assert "error: job 2: there is none" in capsys.readouterr().err
