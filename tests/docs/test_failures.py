"""The page of failures: each cell names tests that exist."""

from __future__ import annotations

import ast
import re

from tests.tidy.source import ROOT, tree

PAGE = ROOT / "docs" / "operate" / "failures.md"
LINK = re.compile(r"\[`(test_\w+)`\]\(([^)]+)\)")


def test_every_cell_names_a_test_that_exists() -> None:
    """Each row of the tables ends with a test of that name in that file. Red when one is renamed, moved or removed."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "what " not in line[:8]]
    cited = {row: LINK.findall(row) for row in rows}
    missing = [
        (name, path)
        for links in cited.values()
        for name, path in links
        if name not in _functions((PAGE.parent / path).resolve().relative_to(ROOT).as_posix())
    ]

    assert len(rows) > 30
    assert [row for row, links in cited.items() if not links] == []
    assert missing == []


def _functions(path: str) -> set[str]:
    found = ROOT / path
    nodes = ast.walk(tree(found)) if found.exists() else ()
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
