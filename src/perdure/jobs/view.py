"""A job as people and programs see it: one row of the view ``perdure.jobs``, and one of its attempt log."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import dropwhile
from typing import Any, Literal

import msgspec

from ..core import limits
from ..core.op import Row

Place = Literal["ready", "scheduled", "leased", "held", "waiting", "dead", "history"]
Outcome = Literal["completed", "cancelled", "expired", "discarded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job. ``place`` is where it stands; ``outcome`` is set in history, ``reason`` in held and dead.

    ``attempt``: attempts charged, the running one included. ``payload``: the arguments by name. ``result``: what the
    handler returned. ``error``: the last failure's text; a cancelled job's reason. ``context``: what it is part of, by
    the words of ``perdure.Envelope``.
    """

    id: int
    task: str
    queue: str
    key: str | None
    place: Place
    reason: str | None
    outcome: Outcome | None
    priority: int
    attempt: int
    rescues: int
    generation: int
    created_at: datetime
    run_at: datetime | None
    expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    tags: tuple[str, ...]
    options: dict[str, Any]
    error: str | None
    payload: dict[str, Any]
    result: Any
    context: dict[str, Any]

    @classmethod
    def read(cls, row: Row) -> Job:
        """The job of a row of ``perdure.jobs``, its json columns as text: drivers differ in what they make of json."""
        values = {field.name: row[field.name] for field in fields(cls)}
        for name in ("payload", "options", "result", "context"):
            if values[name] is not None:
                values[name] = msgspec.json.decode(values[name])
        values["tags"] = tuple(values["tags"] or ())
        values["options"] = values["options"] or {}
        values["context"] = values["context"] or {}
        return cls(**values)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it unless somebody acts: in history, or dead."""
        return self.place in ("history", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that ended without completing. ``ending``: retry, snooze, dead, held, returned or rescued."""

    ended_at: datetime
    started_at: datetime | None
    worker: int | None
    lease: int | None
    generation: int
    attempt: int
    ending: str
    error: str | None


_HEADER = "Traceback (most recent call last):"
_CHAINED = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_PART = re.compile(r" *\+-(?P<first>\+)?-{5,}")
"""What stands between an exception group and its first member, and between its members."""
_UNFIT = re.compile(r"\b\d+ validation errors? for \S+$")
_DETAILS = re.compile(r" \[(type|input_value)=.*")
_MARGIN = re.compile(r"^ *[|+] ?")
_DECIDED = re.compile(
    r"attempt \d+ of \d+ failed|crash \d+ of \d+$|asked to wait [\d.]+ s|the handler declared the failure permanent$"
    r"|\w+ is (never retried by|not among the errors that) the task's policy"
    r"|([\d.]+ s have passed, )?the next attempt would start in [\d.]+ s|the compensation .+ failed: "
)
"""How the sentences begin that say below an error what was decided: those of ``core.backoff``, and a few more."""


def gist(error: str | None) -> str | None:
    """What was raised, by the first line of its message, and what was decided, of the text that is kept of an error.

    A message may go on for as many lines as it likes, so an exception is found by what stands before it: the lines of
    code that it came through, all indented. Of a group its first member is told, too.
    """
    lines = error.strip().splitlines() if error else []
    if not lines:
        return None
    if len(lines) == 2 and not lines[0].endswith(_HEADER):
        raised, decided = lines[0], lines[1:]
    else:
        whole, decided = len(error or "") < limits.ERROR_TEXT_CHARS_MAX, []
        while len(lines) > 1 and _DECIDED.match(lines[-1]):
            decided.insert(0, lines.pop())
        raised = _raised(lines, whole)
    return "; ".join([raised, *(each for each in decided if not raised.endswith(each))])


def _raised(lines: list[str], whole: bool) -> str:
    """What was raised in the end. A text that isn't ``whole`` lacks its beginning."""
    own = _last(lines)
    if own[0].lstrip().startswith(f"+ Exception Group {_HEADER}"):
        return ": ".join(told for part in _first_members(own) if (told := _message(_past_code(_last(part)))))
    if not whole and not own[0].endswith(_HEADER):
        code = next((n for n, line in enumerate(own) if line.startswith('  File "')), None)
        if code is None:
            return next((_MARGIN.sub("", line) for line in reversed(own) if re.search(r"\w", line)), own[-1])
        own = [_HEADER, *own[code:]]
    return _message(_past_code(own)) or lines[-1]


def _last(lines: list[str]) -> list[str]:
    """The last exception of a chain, with the lines of code before it."""
    start = max((n + 1 for n, line in enumerate(lines) if line in _CHAINED), default=0)
    return list(dropwhile(lambda line: not line.strip(), lines[start:])) or lines


def _past_code(lines: list[str]) -> list[str]:
    """The lines of the exception itself."""
    if not lines or not lines[0].endswith(_HEADER):
        return lines
    return list(dropwhile(lambda line: line.startswith(" "), lines[1:]))


def _message(lines: list[str]) -> str:
    """A message's first line, with the next that has a word where it ends in a colon; of pydantic's the field, too, and
    what is wrong with it."""
    first = lines[0].strip() if lines else ""
    if _UNFIT.search(first) and len(lines) > 2:
        return f"{first}: {lines[1].strip()}: {_DETAILS.sub('', lines[2].strip())}"
    more = next((line.strip() for line in lines[1:] if re.search(r"\w", line)), "") if first.endswith(":") else ""
    return f"{first} {more}".strip()


def _first_members(lines: list[str]) -> list[list[str]]:
    """The lines of a group, of its first member, of that one's first member, and so on, without their margins."""
    parts: list[list[str]] = [[]]
    for line in lines:
        between = _PART.match(line)
        if between is None:
            parts[-1].append(_MARGIN.sub("", line))
        elif between["first"]:
            parts.append([])
        else:
            break
    return parts
