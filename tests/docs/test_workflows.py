"""What the guide to workflows promises a reader who has to choose."""

from __future__ import annotations

import re

from tests.tidy.source import ROOT

GUIDE = (ROOT / "docs" / "guides" / "workflows.md").read_text()


def test_the_guide_says_which_tool_is_for_what_and_where_workflows_end() -> None:
    """The table of choices names a row, follow-ups, checkpoints, machines and workflows, each with its page, and the
    limit is stated: within one service, and a dedicated engine beyond [DW-211, DW-212]."""
    table = GUIDE.split("## Which tool for what")[1]
    rows = [line.split("|")[2].strip() for line in table.splitlines() if line.startswith("|")][2:]

    named = ("job", "follow-ups", "checkpoints", "state machine", "workflow")
    assert [each for each in named if not any(each in row for row in rows)] == []
    assert all((ROOT / "docs" / "guides" / page).exists() for page in re.findall(r"\]\((\w+\.md)\)", table))
    assert "one service" in table
    assert "dedicated engine" in table
