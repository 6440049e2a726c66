"""SQL is source: one statement, one file, four header lines, and no SQL put together in Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.tidy import source

HEADER = ("Does", "Locks", "Index", "Bound")
FILES = sorted(source.STATEMENTS.rglob("*.sql"))
SQL = re.compile(
    r"^\s*(?:(?i:select\b.*\bfrom|insert\s+into|update\s+\S+\s+set|delete\s+from|(?:create|drop|alter)\s+"
    r"(?:database|schema|table|index|role|function))\b|(?:LISTEN|NOTIFY|LOCK TABLE|SET|WITH|SELECT|TRUNCATE)\s)",
    re.DOTALL,
)
TOKEN = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|\"[^\"]*\"|;|[^\s;'\"$/-]+|.", re.DOTALL)
"""Comments, quoted text and dollar-quoted bodies are taken whole, so that a ``;`` in one of them ends nothing."""


def _parametrise(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", files, ids=lambda path: f"{path.parent.name}.{path.stem}")


@_parametrise(FILES)
def test_a_statement_says_what_it_does_locks_reads_and_is_bound_by(path: Path) -> None:
    """The file opens with the four header lines, each with something said, in their order."""
    comments = []
    for line in path.read_text().splitlines():
        if not line.startswith("--"):
            break
        comments.append(line)
    labels = re.findall(r"^-- (Does|Locks|Index|Bound): \S", "\n".join(comments), re.MULTILINE)

    assert tuple(labels) == HEADER


@_parametrise(FILES)
def test_a_statement_file_holds_exactly_one_statement(path: Path) -> None:
    """One statement stands in the file, so that its name is its address; a closing semicolon is fine."""
    tokens = [match.group() for match in TOKEN.finditer(path.read_text())]
    code = [token for token in tokens if token.strip() and not token.startswith(("--", "/*"))]
    statements = " ".join(code).rstrip("; ").split(" ; ")

    assert len(statements) == 1
    assert statements[0]


def test_every_statement_is_used() -> None:
    """Each statement's dotted name stands in the code somewhere: a statement nobody sends is deleted."""
    said = {
        node.value
        for path in source.python_files("src")
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert [name for path in FILES if (name := f"{path.parent.name}.{path.stem}") not in said] == []


def _text(node: ast.AST) -> str | None:
    """The literal text of a string that something is put into: an f-string, ``"…".format(…)``, ``"…" % …``."""
    if isinstance(node, ast.JoinedStr) and any(isinstance(part, ast.FormattedValue) for part in node.values):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    template: ast.AST | None = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        template = node.func.value
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
        template = node.left
    return template.value if isinstance(template, ast.Constant) and isinstance(template.value, str) else None


def test_no_sql_is_put_together_from_strings() -> None:
    """No f-string, ``format``, ``%`` or ``+`` touches SQL; an identifier goes through ``psycopg.sql``."""
    found = [
        f"{source.shown(path)}:{getattr(node, 'lineno', 0)}: {text.strip()[:80]}"
        for path in source.python_files("src")
        for node in ast.walk(source.tree(path))
        if (text := _text(node)) and SQL.search(text)
    ]

    assert found == []
