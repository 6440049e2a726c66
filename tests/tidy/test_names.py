"""One word family per act: the verb is an op and a statement, the -er is a loop, the noun is a value."""

from __future__ import annotations

import ast
import re

from tests.tidy import source

KNOWN_LOOPS = {"heart", "warden", "chores", "child", "host", "intake", "journal", "link", "slot"}
"""Loops named after what they are rather than what they do; the house has no better word for them."""


def test_a_loop_is_named_for_who_does_it() -> None:
    """A module in ``loops`` is an -er or an -or: claimer, settler, janitor."""
    found = [
        source.shown(path)
        for path in source.PACKAGE.glob("*/loops/*.py")
        if not path.stem.startswith("_") and path.stem not in KNOWN_LOOPS and not path.stem.endswith(("er", "or"))
    ]

    assert found == []


def test_a_statement_is_spoken_by_one_op() -> None:
    """A statement's dotted name stands in one module: what two ops need is one op that both call."""
    speakers: dict[str, set[str]] = {
        f"{path.parent.name}.{path.stem}": set() for path in source.STATEMENTS.rglob("*.sql")
    }
    for path in source.python_files("src"):
        for node in ast.walk(source.tree(path)):
            if isinstance(node, ast.Constant) and node.value in speakers:
                speakers[str(node.value)].add(source.shown(path))

    assert {name: sorted(paths) for name, paths in speakers.items() if len(paths) > 1} == {}


def test_a_migration_says_its_number_and_its_half() -> None:
    """A migration file is ``NNNN_pre_name.sql`` or ``NNNN_post_name.sql``, and no number stands twice."""
    names = sorted(path.name for path in (source.PACKAGE / "sql" / "migrations").glob("*.sql"))
    numbers = [name[:4] for name in names]

    assert [name for name in names if not re.fullmatch(r"\d{4}_(pre|post)_[a-z0-9_]+\.sql", name)] == []
    assert len(numbers) == len(set(numbers))
