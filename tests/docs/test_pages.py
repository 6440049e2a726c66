"""What the README and the guides show is true: programs print what the page says, commands and links exist."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest

from perdure.cli.program import run
from tests import forge
from tests.conftest import Database
from tests.docs.pages import PAGES, Block, blocks
from tests.tidy.source import ROOT, text_files

pytestmark = pytest.mark.newest

PROGRAMS = [page for page in PAGES if any(block.mark == "run" for block in blocks(page, "python"))]
SHELL = [block for page in PAGES for block in blocks(page, "sh")]
WAIT_SECONDS = 60


@contextmanager
def _worker(app: str, home: Path, environment: dict[str, str]) -> Iterator[None]:
    """A worker process on the app, drained at the end."""
    process = forge.start(["worker", app], cwd=home, env=environment, stdout=1, stderr=2)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(WAIT_SECONDS)
    # A page whose program needs no worker may have ended before the worker could listen to signals.
    assert code in (0, -signal.SIGTERM)


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.stem)
def test_the_programs_of_a_page_print_what_it_says(page: Path, db: Database, tmp_path: Path) -> None:
    """The page's files and programs run in the order they are read, with its worker, and print the output it shows."""
    program: list[str] = []
    for block in blocks(page, "python"):
        if block.mark.startswith("file="):
            file = tmp_path / block.mark.removeprefix("file=")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif block.mark == "run":
            program += [""] * (block.line - 1 - len(program))  # so that an error names the page's own line
            program += block.text.splitlines()
    script = tmp_path / f"{page.stem.lower()}_page.py"
    script.write_text("\n".join(program) + "\n")
    environment = {**os.environ, "DATABASE_URL": db.url, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    with _worker("shop:app", tmp_path, environment):
        ended = subprocess.run(
            [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=WAIT_SECONDS, check=False,
        )  # fmt: skip

    expected = "".join(block.text for block in blocks(page, "text") if block.mark == "output")
    assert (ended.stdout, ended.returncode) == (expected, 0), ended.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_python_block_compiles(page: Path) -> None:
    """A block that isn't run is Python all the same."""
    for block in blocks(page, "python"):
        compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_shell_block_parses(block: Block) -> None:
    """What is shown for a shell is what a shell can read."""
    assert subprocess.run(["bash", "-n"], input=block.text, text=True, check=False).returncode == 0


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_shown_command_exists(block: Block) -> None:
    """Each ``perdure`` command has the options it is shown with, each ``make`` target is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets
        elif words[:1] == ["perdure"]:
            help_text = _help(words[1])
            if " COMMAND " in help_text:
                help_text = _help(words[1], words[2] if words[2:] and words[2][0] != "-" else "list")
            options = {word.split("=")[0] for word in words[2:] if word.startswith("--")}
            assert {option for option in options if option not in help_text} == set()


@cache
def _help(*command: str) -> str:
    """What ``perdure COMMAND --help`` prints; of a noun's verb with two words."""
    said = io.StringIO()
    with patch.dict(os.environ, {"COLUMNS": "200", "NO_COLOR": "1"}), redirect_stdout(said):
        assert run([*command, "--help"]) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue())


def test_every_link_leads_somewhere() -> None:
    """A relative link in a page of ours names a file that is there."""
    found = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in text_files()
        if page.suffix == ".md"
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]

    assert found == []


def test_the_window_of_an_outside_effect_is_named() -> None:
    """The guide says when an effect outside of the database can still happen twice, and what is left to do then: that
    the window is there, ``test_twice`` shows with a handler that has no means against it [DW-50]."""
    page = (ROOT / "docs" / "guides" / "once.md").read_text()
    _, _, window = page.partition("**The window that remains.**")

    assert "the job run again" in window
    assert all(word in window for word in ("at_most_once", "needs_review", "24 hours"))
