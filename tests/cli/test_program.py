"""The program itself: its commands, its help, its version, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from perdure.cli.program import COMMANDS, run
from tests.cli.terminal import COMMAND, answer, drawn, environment, perdure, refusal
from tests.conftest import Database

pytestmark = pytest.mark.newest


def test_the_module_is_the_program() -> None:
    """``python -m perdure`` says which version it is."""
    said = subprocess.run(
        [*COMMAND, "--version"], env=environment(), capture_output=True, text=True, check=False
    ).stdout

    assert said == f"perdure {version('perdure')}\n"


def test_the_help_names_every_command() -> None:
    """``perdure --help`` lists the commands, each with a sentence about it."""
    shown = answer("--help")

    assert {name for name in COMMANDS if f" {name} " not in shown} == set()


def test_saying_nothing_is_asking_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    """``perdure`` alone shows the commands, complains of nothing, and has done nothing: 2."""
    assert run([]) == 2
    said = capsys.readouterr()
    assert "Usage: perdure" in said.out + said.err
    assert "error:" not in said.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``perdure COMMAND --help`` ends with 0."""
    assert run([name, "--help"]) == 0
    assert f"perdure {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["status", "--nonsense"], ["worker"], ["queues", "pause"], ["jobs", "get", "many"]]
)
def test_a_command_line_that_cannot_be_read_is_one_line_and_2(arguments: list[str]) -> None:
    """An unknown command or option, a missing argument, a word where a number belongs: one line that names the help."""
    assert "--help`" in refusal(perdure(*arguments))


@pytest.mark.parametrize(
    ("arguments", "buffered"), [("schema", True), ("jobs", True), ("--version", False), ("jobs get 0", True)]
)
def test_a_reader_that_has_heard_enough_is_no_error(db: Database, arguments: str, buffered: bool) -> None:
    """A command whose reader has closed the pipe ends as any program does, and says nothing of it; what it has to
    complain of it complains of. Red when a short answer is left to the interpreter's end, or to typer's."""
    unbuffered = {} if buffered else {"PYTHONUNBUFFERED": "1"}
    env = {name: value for name, value in environment(db.url).items() if name != "PYTHONUNBUFFERED"} | unbuffered
    unread, heard = os.pipe()
    os.close(unread)
    ended = subprocess.run([*COMMAND, *arguments.split()], env=env, stdout=heard, stderr=subprocess.PIPE, check=False)
    os.close(heard)

    if arguments == "jobs get 0":
        assert (ended.returncode, ended.stderr[:10]) == (2, b"error: id:")
    else:
        assert (ended.returncode, ended.stderr) == (141, b"")


def test_an_answer_is_a_table_on_a_terminal_and_lines_in_a_pipe(db: Database) -> None:
    """The same command draws columns for people, and separates them by tabs for programs."""
    piped = answer("queues", url=db.url)
    seen = drawn("queues", url=db.url)

    assert piped.startswith("queue\tready\t")
    assert "\t" not in seen
    assert "no queue yet" in seen


@pytest.mark.parametrize(
    "command", [["migrate", "--plan"], ["schema"], ["jobs"], ["queues"], ["workers"], ["status"]], ids=" ".join
)
def test_json_is_one_document(command: list[str], db: Database) -> None:
    """With ``--json`` stdout holds one JSON document and nothing else."""
    json.loads(answer(*command, "--json", url=db.url))


def test_only_a_command_that_is_named_is_imported() -> None:
    """Starting a worker doesn't load the demonstration, which takes longer than everything else."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from perdure.cli.program import run; run(['worker', '--help']); "
            "sys.exit('perdure.demo' in sys.modules)",
        ],
        env=environment(),
        capture_output=True,
        check=False,
    )

    assert told.returncode == 0
