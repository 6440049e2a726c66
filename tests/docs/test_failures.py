"""The pages of promises and failures: each line names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.tidy.source import ROOT, tree

FOLDER = ROOT / "docs" / "operate"
LINK = re.compile(r"\[`(test_\w+)`\]\(([^)]+)\)")


def _assert_links(page: Path, lines: list[str]) -> None:
    cited = {line: LINK.findall(line) for line in lines}
    missing = [
        (name, path)
        for links in cited.values()
        for name, path in links
        if name not in _functions((page.parent / path).resolve().relative_to(ROOT).as_posix())
    ]

    assert [line for line, links in cited.items() if not links] == []
    assert missing == []


def test_every_cell_names_a_test_that_exists() -> None:
    """Each row of the tables ends with a test of that name in that file. Red when one is renamed, moved or removed."""
    page = FOLDER / "failures.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and "what " not in line[:8]]

    assert len(rows) > 30
    _assert_links(page, rows)


def test_every_promise_names_a_test_that_exists() -> None:
    """The written guarantee says at least once, one holder for each generation, no exactly-once effect outside and no
    order between jobs, and each sentence names its test [DW-69]. Red when one is renamed, moved or removed."""
    page = FOLDER / "promises.md"
    lines = [line for line in page.read_text().splitlines() if line.startswith("- ")]

    for said in ("At least once", "One holder for each generation", "No exactly-once effect", "No order between jobs"):
        assert any(said in line for line in lines)
    _assert_links(page, lines)


def _functions(path: str) -> set[str]:
    found = ROOT / path
    nodes = ast.walk(tree(found)) if found.exists() else ()
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
