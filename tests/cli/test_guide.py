"""The guide to the command line says all there is to say."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from perdure.cli.program import COMMANDS, perdure
from tests.tidy.source import ROOT

GUIDE = (ROOT / "docs" / "guides" / "cli.md").read_text()


def _options(command: Any) -> set[str]:
    """The long options of a command, and of the commands in it."""
    found = {name for each in command.params for name in each.opts if name.startswith("--")}
    for inner in getattr(command, "commands", {}).values():
        found |= _options(inner)
    return found


def test_the_guide_names_every_command_and_every_option() -> None:
    """A command and an option that the program has stand in docs/guides/cli.md; ``bench`` has a guide of its own."""
    program: Any = get_command(perdure)
    told = [program.get_command(None, name) for name in COMMANDS if name != "bench"]
    options = {option for command in told for option in _options(command)}

    assert {name for name in COMMANDS if f"`{name}`" not in GUIDE} == set()
    assert {option for option in options if option not in GUIDE} == set()
