"""The demonstrations as anybody runs them: real processes, real signals, and ledgers that add up."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perdure.cli.program import run
from perdure.demo import ops, story
from perdure.demo.ground import SCHEMA
from perdure.pg.drive import drive
from tests.cli.terminal import alive, children, perdure, postgres_home, running, until
from tests.conftest import Database
from tests.tidy.source import ROOT

GOOD = [
    {"event": "order.paid", "payload": {"id": 9182, "amount": "12.50", "lines": [], "note": None}},
    [1, -0.0, 1.5e-300, 12345678901234567890123456789012345678901234567890, True, False, None],
    'a text with " \\ \b \f \n \r \t / \u2028 and \U0001f4ee',
    {"": {"deep": [[[[[{"er": {}}]]]]]}, "ключ": "значение", "z": 1, "a": 2},
    0,
    None,
    {"large": "x" * 200_000},
]
BAD = ["{", '{"a": NaN}', '"\\u0000"', "1 2", "\ufffe{}"]


def _webhooks() -> list[Path]:
    """A few payloads of our own, and the real ones where they are: in the file that PERDURE_TEST_WEBHOOKS names, or in
    the data beside the repository.
    """
    beside = ROOT.parent / "shared" / "data" / "github-webhooks.ndjson"
    real = Path(os.environ.get("PERDURE_TEST_WEBHOOKS", beside))
    return [Path(__file__).with_name("webhooks.ndjson"), *([real] if real.is_file() else [])]


def test_the_story_is_told_and_its_ledger_adds_up() -> None:
    """On an embedded Postgres of its own: the receipt of order:9182 is enqueued with its order's commit, its worker is
    killed before it is sent, and exactly one is recorded; a rollback leaves nothing; a frozen worker is refused
    [DW-1, DW-10, DW-30]. Red when any fence lets a second end or none through: the ledger counts rows.
    """
    with postgres_home() as home:
        told = perdure("demo", PERDURE_HOME=str(home), url="postgresql://db.invalid/not_this_one")

    assert told.returncode == 0, told.stdout + told.stderr
    assert "after its rollback: 0 orders, 0 receipts" in told.stdout
    assert "kill -9" in told.stdout
    assert "was claimed as generation" in told.stdout
    assert "The ledger adds up" in told.stdout
    assert "\x1b" not in told.stdout


def test_it_can_be_told_again_and_as_figures(db: Database, tmp_path: Path) -> None:
    """A second time on the same database, which keeps everything outside of the demonstration's own schema; with
    ``--json`` the figures are one document, and they are measured. The story stands still until every other receipt is
    sent, as it may on a busy machine, and still finds the worker that is at order:9182's.

    Red when that receipt takes no longer than the others: then there is nobody left to be killed.
    """
    before, conn, figures = _rows(db), db.connect(), tmp_path / "figures"
    conn.execute("create schema perdure_demo; create table perdure_demo.job (left_over int)")
    with running("demo", "--json", "--url", db.url, to=figures) as demo:
        until("a worker", lambda: _living(conn) >= 1)
        demo.process.send_signal(signal.SIGSTOP)
        ended = "select count(*) >= %s from perdure_demo.history"
        until("the other receipts", lambda: conn.execute(ended, [story.ORDERS - 1]).fetchone() == (True,))
        demo.process.send_signal(signal.SIGCONT)
        assert demo.ended() == 0, demo.heard

    report = json.loads(figures.read_text())
    assert report["order_seconds"] is not None
    assert (report["ok"], report["problems"], report["exit_codes"]) == (True, [], [0, 0])
    assert report["recovered"] == report["lost"] > 0
    assert report["replaced"] == report["frozen"] > 0
    assert report["refused"] > 0 == report["overwritten"]
    assert 0 < report["take_over_seconds"] < report["seconds"]
    rows = db.connect().execute("select count(*), count(distinct id) from perdure_demo.history").fetchone()
    assert rows == (report["ledger"]["jobs"],) * 2
    assert _rows(db) == before


@pytest.mark.newest
def test_a_ledger_that_does_not_add_up_is_exit_code_1(
    empty_db: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Orders that are paid while no worker runs leave books that don't add up, and the command ends with 1."""
    idle: Callable[..., Any] = lambda *anything: None  # noqa: E731
    for scene in ("_kill", "_freeze", "_leave"):
        monkeypatch.setattr(story, scene, idle)
    code = run(["demo", "--url", empty_db.url])
    said = capsys.readouterr().out

    assert code == 1
    assert "WRONG: 300 jobs have not finished" in said
    assert "WRONG: 300 paid orders have 0 receipts" in said
    assert "The ledger doesn't add up" in said


@pytest.mark.newest
def test_one_demonstration_at_a_time(empty_db: Database) -> None:
    """While one runs another is refused, because it would take the schema from under it."""
    assert drive(empty_db.connect(), ops.alone(), SCHEMA)
    told = perdure("demo", "--url", empty_db.url)

    assert told.returncode == 2
    assert "another demonstration is running there" in told.stderr


@pytest.mark.newest
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
def test_a_story_that_is_broken_off_leaves_no_process(number: signal.Signals, empty_db: Database) -> None:
    """Ctrl-C ends it with 1; and after kill -9, too, none of its workers is left, not even a frozen one."""
    conn = empty_db.connect()
    with running("demo", "--json", "--url", empty_db.url) as demo:
        until("two workers", lambda: _living(conn) >= 2)
        workers = children(demo.pid)
        with suppress(ProcessLookupError):  # the story may have killed it by now, and then has others
            os.kill(workers[0], signal.SIGSTOP)
        demo.process.send_signal(number)
        assert demo.ended() == (1 if number == signal.SIGINT else -number)
        until("the workers to end", lambda: not any(map(alive, workers)))


@pytest.mark.newest
def test_every_value_of_a_file_comes_back_and_bad_lines_are_told(empty_db: Database, tmp_path: Path) -> None:
    """Values of every kind go through workers of which one is killed, and come back equal, none lost; lines that are
    no JSON are told by number, and make the exit code 2 [DW-3]. Red when a value is changed on its way.
    """
    lines = [json.dumps(value, ensure_ascii=number % 2 == 0) for number, value in enumerate(GOOD * 20)]
    file = tmp_path / "values.ndjson"
    file.write_text("\n".join([*lines, "", *BAD]), encoding="utf-8-sig")  # as Windows writes it
    told = perdure("demo", "--input", file, "--json", "--url", empty_db.url)

    assert told.returncode == 2, told.stderr
    report = json.loads(told.stdout)
    ledger = report["ledger"]
    assert report["problems"] == []
    assert (ledger["jobs"], ledger["completed"], ledger["different"]) == (len(lines), len(lines), 0)
    assert ledger["lost"] == ledger["recovered"] > 0
    assert [each.split(":")[0] for each in report["refusals"]] == [
        f"line {len(lines) + 1 + number}" for number in range(1, len(BAD) + 1)
    ]


@pytest.mark.newest
@pytest.mark.parametrize("file", _webhooks(), ids=lambda path: path.name)
def test_webhooks_come_back_as_they_went_in(file: Path, empty_db: Database) -> None:
    """Every line of a file is one job that completes once, with its value unchanged, though a worker is killed."""
    told = perdure("demo", "--input", file, "--json", "--url", empty_db.url)

    assert told.returncode == 0, told.stderr
    ledger = json.loads(told.stdout)["ledger"]
    lines = sum(1 for line in file.open("rb") if line.strip())
    assert (ledger["lines"], ledger["completed"], ledger["different"], ledger["unfinished"]) == (lines, lines, 0, 0)


def _living(conn: psycopg.Connection[Any]) -> int:
    """The workers that have registered."""
    with suppress(psycopg.errors.UndefinedTable):
        row = conn.execute("select count(*) from perdure_demo.worker").fetchone()
        return 0 if row is None else int(row[0])
    return 0


def _rows(db: Database) -> list[tuple[Any, ...]]:
    query = "select table_schema, table_name from information_schema.tables where table_schema = 'perdure' order by 2"
    return db.connect().execute(query).fetchall()
