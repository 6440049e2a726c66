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


def test_the_guide_names_every_command_verb_and_option() -> None:
    """Every command, verb and option that the program has stands in docs/guides/cli.md; ``bench`` has a guide of its
    own. Red when a verb is added that only ``--help`` tells of."""
    program: Any = get_command(perdure)
    told = [program.get_command(None, name) for name in COMMANDS if name != "bench"]
    options = {option for command in told for option in _options(command)}
    verbs = {(each.name, verb) for each in told for verb in getattr(each, "commands", {}) if verb != "list"}

    assert {name for name in COMMANDS if f"`{name}`" not in GUIDE} == set()
    assert {each for each in verbs if " ".join(each) not in GUIDE and f"`{each[1]}`" not in GUIDE} == set()
    assert {option for option in options if option not in GUIDE} == set()
