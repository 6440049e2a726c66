"""Writes docs/reference/states.md, the lifecycle of a job, from the table in the code.

python tools/draw_states.py
"""

from __future__ import annotations

from pathlib import Path

from perdure.jobs.states import MOVES, mermaid

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "states.md"
OPENING = """\
# The life of a job

A job stands in exactly one place. These are all the moves there are; `jobs/states.py` holds the table, a test plays
random moves against it on a real Postgres, and `tools/draw_states.py` writes this page.
"""
GENERATIONS = """\
A **new generation** makes whoever held the job before stale: their end matches no row and is refused. Every act that
takes a job out of a lease alive gives it one, in the same statement.
"""


def render() -> str:
    """The page."""
    rows = [
        f"| {move.source or '(new)'} | {move.act.replace('_', ' ')} | {move.target} | {'yes' if move.bumps else ''} "
        f"| {move.when} |"
        for move in MOVES
    ]
    table = "\n".join(["| from | act | to | new generation | when |", "|---|---|---|---|---|", *rows])
    return f"{OPENING}\n```mermaid\n{mermaid()}\n```\n\n{table}\n\n{GENERATIONS}"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render())
