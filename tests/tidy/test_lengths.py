"""A ratchet, not a limit: it speaks at the moment a file or a function grows past its size, and lets giants be."""

from __future__ import annotations

from tests.tidy import source

FILE_LINES = range(401, 441)
FUNCTION_LINES = range(61, 67)


def test_no_file_is_just_growing_too_long() -> None:
    """A file that has just passed 400 lines is asked whether it is two subjects."""
    found = {source.shown(path): len(path.read_text().splitlines()) for path in source.python_files()}

    assert {path: lines for path, lines in found.items() if lines in FILE_LINES} == {}


def test_no_function_is_just_growing_too_long() -> None:
    """A function that has just passed 60 lines is asked whether it does two things."""
    found = {
        f"{source.shown(path)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in source.python_files()
        for node in source.functions(path)
    }

    assert {where: lines for where, lines in found.items() if lines in FUNCTION_LINES} == {}
