"""``perdure enqueue``: one job from the command line, and files of them, good lines and bad ones."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from perdure.cli.program import run
from perdure.core import limits
from tests.cli.terminal import COMMAND, answer, environment, perdure, refusal
from tests.conftest import Database

pytestmark = pytest.mark.newest


def _jobs(db: Database) -> list[tuple[Any, ...]]:
    return db.connect().execute("select task, queue, key, payload::text from perdure.jobs order by id").fetchall()


def test_a_job_of_an_app_is_held_to_its_signature(db: Database, home: Path) -> None:
    """With --app the task's signature checks the arguments and its declaration says the queue; the id is written."""
    said = answer("enqueue", "send_receipt", "order_id=9182", "note=paid", "--app", "shop:app", url=db.url, cwd=home)

    assert said == "1\n"
    assert _jobs(db) == [("send_receipt", "mail", None, '{"order_id":9182,"note":"paid"}')]


@pytest.mark.parametrize(
    ("task", "arguments", "problem"),
    [
        ("send_receipt", ["order_id=today"], "order_id: expected int, got str; send_receipt takes (order_id: int"),
        ("send_receipt", ["order=1"], "order: is not an argument of the task"),
        ("send_receipt", [], "order_id: is missing"),
        ("send_receipt", ['{"order_id": NaN}'], "not valid JSON"),
        ("send_reciept", ["order_id=1"], "task: the app shop has no task 'send_reciept'; there is send_receipt"),
    ],
)
def test_arguments_that_the_task_does_not_take(
    task: str, arguments: list[str], problem: str, db: Database, home: Path
) -> None:
    """What the task can't be called with is refused, naming the argument, and nothing is written."""
    assert problem in refusal(perdure("enqueue", task, *arguments, "--app", "shop:app", url=db.url, cwd=home))
    assert _jobs(db) == []


@pytest.mark.parametrize(
    ("arguments", "field", "fix"),
    [
        (["9182"], "ARGS", "write order_id=9182"),
        (["a=1", "a=2"], "a", "give it once"),
        (["a=1", "--priority", "11"], "--priority", "give 0 (first) to 9 (last)"),
        (["a=1", "--run-at", "tomorrow"], "--run-at", "write 2026"),
        (["a=1", "--run-at", "2026-03-01T09:00"], "--run-at", "write 2026-03-01T09:00Z"),
        (["a=1", "--delay", "-1"], "--delay", "give 0 or more"),
        (["a=1", "--delay", "1", "--run-at", "2026-03-01T09:00Z"], "--delay", "give one"),
        (["a=1", "--queue", "e mail"], "--queue", "use letters, digits"),
        (["a=1", "--strict"], "--strict", "give --from"),
        (["a=1", "--from", "-"], "ARGS", "put them into the file"),
        (["--from", "nowhere.ndjson"], "--from", "give a file that can be read"),
        ([f"a={'x' * limits.PAYLOAD_BYTES_MAX}"], "a", "keep the data in a table"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_what_cannot_be_enqueued(
    arguments: list[str], field: str, fix: str, db: Database, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A bad argument or option is one line that names it and what to give, exit code 2, and nothing is written."""
    monkeypatch.setenv("DATABASE_URL", db.url)
    code = run(["enqueue", "send", *arguments])
    (line,) = capsys.readouterr().err.splitlines()

    assert code == 2
    assert line.startswith(f"error: {field}: ")
    assert fix in line
    assert _jobs(db) == []


def test_a_job_without_an_app_is_any_object(db: Database) -> None:
    """Without --app any object of arguments is a job; values are kept digit for digit, options are taken."""
    said = answer("enqueue", "send", '{"amount": 12345678901234567890.50}', "--queue", "mail", "--key", "order:9182",
                  "--priority", "0", "--tag", "vip", "--delay", "3600", "--json", url=db.url)  # fmt: skip
    row = db.connect().execute("select payload::text, key, tags, place from perdure.jobs").fetchone()

    assert json.loads(said) == {"id": 1, "task": "send", "queue": "mail"}
    assert row == ('{"amount": 12345678901234567890.50}', "order:9182", ["vip"], "scheduled")


def test_each_refused_line_is_reported_and_the_rest_enqueued(db: Database, home: Path) -> None:
    """A file's bad lines are named by number, field, problem and fix, in order; the good ones are jobs; 2."""
    lines = [f'{{"order_id": {number}}}' for number in range(1, 1_301)]
    lines[1_233] = '{"order_id": "many"}'
    lines[9] = "{not json"
    lines[99] = ""
    (home / "orders.ndjson").write_text("\n".join(lines))
    ended = perdure("enqueue", "send_receipt", "--from", "orders.ndjson", "--app", "shop:app", url=db.url, cwd=home)

    assert ended.returncode == 2
    first, second = ended.stderr.splitlines()
    assert first.startswith("error: orders.ndjson line 10: not valid JSON")
    assert second.startswith("error: orders.ndjson line 1,234: order_id: expected int, got str; send_receipt takes")
    assert dict(line.split("\t") for line in ended.stdout.splitlines()) == {
        "lines": "1299", "enqueued": "1297", "refused": "2", "first id": "1", "last id": "1297",
    }  # fmt: skip
    numbers = [json.loads(payload)["order_id"] for *_, payload in _jobs(db)]
    assert numbers == [number for number in range(1, 1_301) if number not in (10, 100, 1_234)]


def test_a_strict_file_is_enqueued_whole_or_not_at_all(db: Database, home: Path) -> None:
    """With --strict one bad line, however late, leaves nothing written; without one all is, in one transaction."""
    lines = [f'{{"order_id": {number}}}' for number in range(2_500)]
    bad, good = home / "bad.ndjson", home / "good.ndjson"
    bad.write_text("\n".join([*lines, "[]"]))
    good.write_text("\n".join(lines))
    command = ["enqueue", "send_receipt", "--strict", "--json", "--app", "shop:app", "--from"]
    refused = perdure(*command, bad, url=db.url, cwd=home)

    assert refused.returncode == 2
    assert json.loads(refused.stdout)["refusals"][0]["line"] == 2_501
    assert "nothing was enqueued" in refused.stderr
    assert _jobs(db) == []
    assert json.loads(answer(*command, good, url=db.url, cwd=home))["enqueued"] == 2_500
    assert db.connect().execute("select count(distinct xmin::text), count(*) from perdure.job").fetchone() == (1, 2_500)


def test_a_file_comes_through_stdin(db: Database, home: Path) -> None:
    """``--from -`` reads stdin; a byte order mark and Windows' line ends are no part of a line."""
    ended = subprocess.run(
        [*COMMAND, "enqueue", "send_receipt", "--app", "shop:app", "--from", "-"],
        env=environment(db.url),
        cwd=home,
        input=b'\xef\xbb\xbf{"order_id": 1}\r\n\r\n{"order_id": 2}\r\n\xff\n',
        capture_output=True,
        check=False,
    )

    assert ended.returncode == 2
    assert b"error: stdin line 4: not valid JSON" in ended.stderr
    assert [json.loads(payload)["order_id"] for *_, payload in _jobs(db)] == [1, 2]


def test_a_line_that_is_too_long_is_refused_alone(db: Database, home: Path) -> None:
    """A line of many megabytes is refused by its number, isn't kept in memory, and the next line is the next line."""
    (home / "long.ndjson").write_text(f'{{"a": "{"x" * 5_000_000}"}}\n{{"a": "y"}}\n{{"a": "{"x" * 1_050_000}"}}')
    ended = perdure("enqueue", "send", "--from", "long.ndjson", url=db.url, cwd=home)

    first, last = ended.stderr.splitlines()
    assert first.startswith("error: long.ndjson line 1: the line has more than")
    assert last.startswith("error: long.ndjson line 3: a: the encoded value has")
    assert [payload for *_, payload in _jobs(db)] == ['{"a": "y"}']


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_word_that_is_no_number_of_json_is_refused(word: str, db: Database) -> None:
    """NAME=NaN isn't taken for the text "NaN", with or without a task to hold it to; nothing is enqueued."""
    line = refusal(perdure("enqueue", "send_receipt", f"order_id={word}", url=db.url))

    assert line.startswith("error: order_id: ")
    assert db.connect().execute("select count(*) from perdure.job").fetchone() == (0,)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (['{"order_id": 1'], "error: ARGS: "),
        (["--run-at", "2026-03-01T09:00"], "error: --run-at: '2026-03-01T09:00' has no time zone; write 2026-03-01T"),
        (["--delay", "nan"], "error: --delay: "),
    ],
)
def test_an_error_names_what_was_typed(arguments: list[str], said: str, db: Database) -> None:
    """The field of a refusal is the argument or option as it stands in the command."""
    assert refusal(perdure("enqueue", "send_receipt", *arguments, url=db.url)).startswith(said)
