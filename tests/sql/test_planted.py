"""The bugs that are planted for the simulator fit the statements as they are."""

from __future__ import annotations

from perdure.sql import statement
from tests.sim.bugs import BUGS


def test_every_planted_bug_takes_something_out_of_its_statement() -> None:
    """Each planted bug finds the words it replaces. Red when a statement was changed and its bug was not, so that the
    simulator would be tested with nothing."""
    texts = {name: statement(bug.statement, lambda row: row).text for name, bug in BUGS.items() if bug.statement}

    assert [name for name, text in texts.items() if BUGS[name].text not in text] == []
