"""Time, dice and ids are arguments: only ``runtime`` makes them, and import contracts can't see a call."""

from __future__ import annotations

import ast

from tests.tidy import source

MAKERS = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns",
    "uuid.uuid1", "uuid.uuid4", "uuid.uuid7", "uuid1", "uuid4", "uuid7", "os.urandom",
}  # fmt: skip
DICE = {"random", "secrets"}


def _made(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call):
        name = source.dotted(node.func)
        return next((maker for maker in MAKERS if name == maker or name.endswith(f".{maker}")), None)
    if isinstance(node, ast.Import):
        return next((alias.name for alias in node.names if alias.name in DICE), None)
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return node.module if node.module in DICE else None
    return None


def test_only_runtime_makes_time_dice_and_ids() -> None:
    """Outside ``runtime`` nothing reads the wall clock, rolls dice or makes up an id."""
    found = [
        f"{source.shown(path)}:{getattr(node, 'lineno', 0)}: {made}"
        for path in source.python_files("src")
        if path.relative_to(source.PACKAGE).parts[0] != "runtime"
        for node in ast.walk(source.tree(path))
        if (made := _made(node))
    ]

    assert found == []
