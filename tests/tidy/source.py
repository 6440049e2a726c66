"""The repository as the tidy tests read it: which files there are, and what a line of them says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "perdure"
STATEMENTS = PACKAGE / "sql" / "statements"
TEXT = {".py", ".sql", ".md", ".toml", ".sh", ".tsv", ".ini", ".json", ".yml", ".yaml", ""}
OURS = ("src", "tests", "tools", "docs", "examples", ".ci")


def shown(path: Path) -> str:
    """The path as a person would type it, from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def python_files(*folders: str) -> list[Path]:
    """The Python files under the folders, or under src, tests and tools."""
    return sorted(path for folder in folders or ("src", "tests", "tools") for path in (ROOT / folder).rglob("*.py"))


def text_files() -> list[Path]:
    """Every text file a reader of the repository meets: the folders of ours, and the files beside them."""
    inside = (path for folder in OURS for path in (ROOT / folder).rglob("*"))
    beside = (path for path in ROOT.iterdir() if path.name != ".git")
    found = (path for path in (*inside, *beside) if path.is_file() and path.suffix in TEXT)
    return sorted(path for path in found if "__pycache__" not in path.parts)


@cache
def tree(path: Path) -> ast.Module:
    """The file, parsed."""
    return ast.parse(path.read_text(), filename=str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of the file, methods and inner ones too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a name or an attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else node.attr
    return ""
