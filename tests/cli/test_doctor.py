"""``perdure doctor`` and ``perdure report``, as a person and a program meet them."""

from __future__ import annotations

import json

from perdure.sql import report_names
from tests.cli.terminal import answer, drawn, perdure, refusal
from tests.conftest import Database


def test_the_doctor_is_a_document_and_an_exit_code(db: Database) -> None:
    """Each finding is a check, a status, a message and its evidence; the exit code is the worst status's: 0 when all is
    well, 2 after damage that a check finds."""
    well = perdure("doctor", "--json", url=db.url)
    db.connect().execute("insert into perdure.dead (id, reason) values (1, 'nobody')")
    ill = perdure("doctor", "--json", url=db.url)
    findings = {each["check"]: each for each in json.loads(ill.stdout)}

    assert (well.returncode, ill.returncode) == (0, 2)
    assert {each["status"] for each in json.loads(well.stdout)} == {"ok"}
    assert findings["jobs.places"].keys() == {"check", "status", "message", "evidence"}
    assert findings["jobs.places"]["status"] == "fail"


def test_the_doctor_shows_whole_sentences_on_a_terminal(db: Database) -> None:
    """What is wrong is never cut off by the width of the terminal."""
    shown = " ".join(drawn("doctor", url=db.url).split())

    assert "every live job stands in exactly one place" in shown


def test_the_doctor_speaks_of_a_schema_that_is_not_there(empty_db: Database) -> None:
    """On a database without the schema it says what to do, and what it couldn't look at."""
    ended = perdure("doctor", url=empty_db.url)

    assert ended.returncode == 2
    assert "perdure migrate" in ended.stdout
    assert "skipped\tjobs.places" in ended.stdout


def test_reports_are_listed_answered_and_shown(db: Database) -> None:
    """Every report is listed with its question, answers by name, and shows its query for psql in the schema asked for;
    an unknown one is refused with the names there are."""
    listed = [line.split("\t")[0] for line in answer("report", url=db.url).splitlines()[1:]]

    assert listed == report_names()
    assert json.loads(answer("report", "history.days", "--json", url=db.url))[0]["parent"] == "history"
    assert "from cell.ready" in answer("report", "queues.attended", "--sql", "--schema", "cell")
    assert "jobs.misplaced" in refusal(perdure("report", "jobs.nothing", url=db.url))
