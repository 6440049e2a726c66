"""The command line: one command a file, in the words of the rooms below.

A command reads its arguments, asks one room, and shows the answer: tables and bars for people on a terminal, plain
lines or one JSON document for programs. What goes wrong is one line on stderr, and the exit code says which kind: 0 for
done, 1 for failed, 2 for input or settings that have to be changed. Nothing about jobs is decided here.
"""

from __future__ import annotations

from .program import main

__all__ = ["main"]
