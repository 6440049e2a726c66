"""``perdure jobs redrive``, ``discard``, ``acts`` and ``progress``: many dead jobs at once, and who did it."""

from __future__ import annotations

import pytest

from perdure.cli.program import run
from tests.cli.conftest import Ask
from tests.conftest import Database


@pytest.fixture
def dead(db: Database, ask: Ask) -> None:
    """Three dead jobs, two of them of the queue mail."""
    for queue in ("mail", "mail", "bulk"):
        ask("enqueue", "send", "--queue", queue)
    db.connect().execute(
        "with gone as (delete from perdure.ready returning id) "
        "insert into perdure.dead (id, reason, error) select id, 'exhausted', 'HTTP 503' from gone"
    )


@pytest.mark.usefixtures("dead")
def test_dead_jobs_are_counted_redriven_and_discarded_by_filter(ask: Ask) -> None:
    """A dry run only counts; the act says how many it was, and the book who did it, by which filter [DW-168]."""
    mail = ("--queue", "mail", "--died-of", "exhausted", "--error", "503", "--died-after", "2020-01-01T00:00Z")
    assert ask("jobs", "redrive", *mail, "--dry-run") == {"jobs": 2, "act": None, "runs": 0}
    assert [job["place"] for job in ask("jobs")["jobs"]] == ["dead"] * 3

    assert ask("jobs", "redrive", *mail, "--rate", "60/min", "--by", "alice", "--yes")["jobs"] == 2
    assert ask("jobs", "discard", "--all", "--reason", "obsolete", "--yes", "--by", "bob")["jobs"] == 1

    places = {job["id"]: job["place"] for job in ask("jobs")["jobs"]}
    assert places == {1: "scheduled", 2: "scheduled", 3: "history"}
    book = [(each["by"], each["act"], each["jobs"], each["reason"]) for each in ask("jobs", "acts")]
    assert book == [("bob", "discard", 1, "obsolete"), ("alice", "redrive", 2, None)]


@pytest.mark.usefixtures("dead")
def test_what_may_not_be_meant_is_asked_about(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a filter, without --yes where nobody can be asked, with a filter that matches nothing, with ids beside a
    filter, with what only goes with a filter, without a reason: refused by name, and nothing is done."""
    for arguments, told in (
        (
            ("redrive",),
            "filter: is empty, and would choose every dead job; narrow it (--queue, --task, …), or say --all",
        ),
        (("redrive", "1", "--dry-run"), "--dry-run: counts what a filter chooses"),
        (("redrive", "1", "--rate", "5/s"), "--rate: spreads what a filter chooses"),
        (("redrive", "--queue", "mail"), "--yes: would redrive 2 of 3 dead jobs; say --yes, or --dry-run"),
        (("redrive", "--queue", "mali", "--yes"), 'no dead job matches {"queue":"mali"}, of 3'),
        (("redrive", "1", "--queue", "mail"), "ids: are given together with a filter"),
        (("redrive", "--all", "--rate", "fast", "--yes"), "--rate: 'fast' is not allowed; write 50/s"),
        (("redrive", "--died-after", "yesterday", "--yes"), "--died-after: 'yesterday' is no time"),
        (("redrive", "--all", "--rate", "0/h", "--yes"), "--rate: '0/h' is not allowed"),
        (("discard", "--all", "--yes"), "--reason: is missing"),
    ):
        assert run(["jobs", *arguments]) == 2
        assert told in capsys.readouterr().err
    assert [job["place"] for job in ask("jobs")["jobs"]] == ["dead"] * 3
    assert ask("jobs", "acts") == []


def test_the_progress_of_a_job_is_shown(ask: Ask, db: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """How much is done, at which rate, and how long the rest takes; a job that says nothing says so."""
    ask("enqueue", "load")
    assert run(["jobs", "progress", "1"]) == 0
    assert "it hasn't said anything" in capsys.readouterr().out
    db.connect().execute(
        "insert into perdure.progress values (1, 0, 300, 1000, 'orders', 100, now() - interval '10 s', now(), now())"
    )

    shown = ask("jobs", "progress", "1")
    assert (shown["n"], shown["total"], shown["rate"], shown["eta_seconds"]) == (300, 1000, 20, 35)
    assert run(["jobs", "progress", "1"]) == 0
    told = capsys.readouterr().out
    assert "300 of 1000" in told
    assert "35 s" in told
