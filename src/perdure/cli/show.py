"""How answers look: tables for people, tab-separated lines for pipes, one JSON document for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

PLACE_STYLES = {
    "ready": "cyan",
    "scheduled": "blue",
    "leased": "yellow",
    "held": "magenta",
    "waiting": "blue",
    "dead": "bold red",
    "history": "dim",
    "completed": "green",
    "cancelled": "dim",
    "expired": "dim",
    "discarded": "dim",
    "alive": "green",
    "draining": "yellow",
    "left": "dim",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
    "skipped": "dim",
    "paused": "yellow",
    "stalled": "bold red",
    "full": "bold red",
    "in debt": "bold red",
}
"""What a place, an outcome, a worker's state or a check's looks like on a terminal."""


SHORT_CHARS = 10
"""Columns no wider than this are shown whole."""


def document(value: object) -> None:
    """Write the value to stdout as one JSON document; indented on a terminal."""
    text = msgspec.json.encode(value)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    sys.stdout.write(text.decode() + "\n")


def say(line: str) -> None:
    """Tell the person at the terminal; never on stdout, which belongs to the answer."""
    sys.stderr.write(f"perdure: {line}\n")
    sys.stderr.flush()


def complain(problem: str, code: int) -> int:
    """Say what is wrong, in one line on stderr; the code is handed through."""
    sys.stderr.write(f"error: {' '.join(problem.split())}\n")
    sys.stderr.flush()
    return code


def line(text: str) -> None:
    """Write a line of the answer to stdout."""
    sys.stdout.write(f"{text}\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str, wraps: str | None = None) -> None:
    """Write rows to stdout: drawn on a terminal, elsewhere one line each with tabs, the columns' names first.

    ``empty`` is said instead when there is none. A value that is None shows as nothing. ``wraps``: the column that is
    shown whole, on several lines if need be.
    """
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(_plain(cell) for cell in row) + "\n")
        return
    console = Console()
    if not rows:
        console.print(Text(empty, style="dim"))
        return
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(columns):
        numeric = all(isinstance(row[number], int | float) or row[number] is None for row in rows)
        # What is long gives way on a narrow terminal; an id that is cut off is no use to any other command.
        widest = max(len(name), *(len(_drawn(row[number])) for row in rows))
        drawn.add_column(
            name,
            justify="right" if numeric else "left",
            overflow="fold" if name == wraps else "ellipsis",
            no_wrap=numeric or widest <= SHORT_CHARS,  # what may wrap is narrowed first
        )
    for row in rows:
        drawn.add_row(
            *(
                Text(_drawn(cell), style=PLACE_STYLES.get(str(cell), ""), no_wrap=name != wraps)
                for name, cell in zip(columns, row, strict=True)
            )
        )
    console.print(drawn)


def facts(pairs: Sequence[tuple[str, object]]) -> None:
    """Write names and values to stdout, one pair a line; pairs without a value are left out."""
    said = [(name, value) for name, value in pairs if value is not None and value != ""]
    if not sys.stdout.isatty():
        for name, value in said:
            sys.stdout.write(f"{name}\t{_plain(value)}\n")
        return
    drawn = Table(box=None, show_header=False, pad_edge=False)
    drawn.add_column(style="bold")
    for name, value in said:
        drawn.add_row(name, Text(_drawn(value), style=PLACE_STYLES.get(str(value), "")))
    Console().print(drawn)


def fact(value: object) -> object:
    """A value as a fact: JSON for what has parts, nothing where there are none, and its text for the rest."""
    if isinstance(value, dict | list | tuple):
        return msgspec.json.encode(value).decode() if value else None
    return value


def gap() -> None:
    """An empty line between two parts of an answer."""
    line("")


def span(seconds: float | None) -> str | None:
    """Seconds as people say them: 0.4 s, 12 s, 5 min, 3 h, 2 d."""
    if seconds is None:
        return None
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    for unit, size in (("s", 120), ("min", 7_200), ("h", 172_800)):
        if seconds < size:
            return f"{seconds / _SECONDS[unit]:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def ago(then: datetime | None, now: datetime) -> str | None:
    """How long ago a moment was."""
    return None if then is None else span((now - then).total_seconds())


def moment(then: datetime) -> str:
    """A moment within a sentence, as tables show it."""
    return _drawn(then) if sys.stdout.isatty() else _plain(then)


_SECONDS = {"s": 1, "min": 60, "h": 3_600}


def _plain(cell: object) -> str:
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return "" if cell is None else " ".join(str(cell).split())


def _drawn(cell: object) -> str:
    if isinstance(cell, datetime):
        return cell.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return "" if cell is None else str(cell)
