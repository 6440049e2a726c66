"""The reports: questions that support staff ask, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.errors import InvalidOption
from ..core.op import Op, rows
from ..sql import report, report_names, report_text


@dataclass(frozen=True, slots=True)
class Report:
    """A report: its name, the question it answers, and its SQL with its heading."""

    name: str
    question: str
    text: str


def catalogue() -> list[Report]:
    """Every report, by topic."""
    return [_read(name) for name in report_names()]


def find(name: str) -> Report:
    """The report of that name, ``topic.question``. Raises InvalidOption, naming those there are."""
    if name not in report_names():
        raise InvalidOption(f"{name!r} is none", field="report", fix=f"there are {', '.join(report_names())}")
    return _read(name)


def answer(found: Report) -> Op[list[dict[str, Any]]]:
    """The rows of its answer."""
    return (yield from rows(report(found.name, dict)))


def _read(name: str) -> Report:
    text = report_text(name)
    return Report(name, text.partition("\n")[0].removeprefix("-- "), text)
