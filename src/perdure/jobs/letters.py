"""Dead letters: which of them are meant, and what was done to many of them at once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, TypedDict

import msgspec

from ..core import check, limits
from ..core.errors import InvalidInput, InvalidOption
from ..core.op import Row

Act = Literal["redrive", "discard"]


class NothingMatches(InvalidInput):
    """A filter chooses nothing, so there was nothing to do: it may not say what was meant."""

    code = "nothing_matches"


class Filter(TypedDict, total=False):
    """Which dead jobs are meant; what isn't said doesn't matter. ``died_of``: the reason they are dead for, as
    ``exhausted``. ``error``: a part of the last error's text."""

    queue: str | None
    task: str | None
    died_of: str | None
    tag: str | None
    error: str | None
    died_after: datetime | None
    died_before: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A filter that has been checked. Raises InvalidOption, naming what isn't allowed."""

    queue: str | None = None
    task: str | None = None
    died_of: str | None = None
    tag: str | None = None
    error: str | None = None
    died_after: datetime | None = None
    died_before: datetime | None = None

    def __post_init__(self) -> None:
        for option in ("queue", "task", "died_of", "tag", "error"):
            if (value := getattr(self, option)) is not None:
                check.text(option, value, limits.ERROR_TEXT_CHARS_MAX if option == "error" else limits.KEY_CHARS_MAX)
        for option in ("died_after", "died_before"):
            if (moment := getattr(self, option)) is not None:
                check.moment(option, moment)
        if self.died_after is not None and self.died_before is not None and self.died_after >= self.died_before:
            raise InvalidOption("comes after died_before", field="died_after", fix="give the earlier moment here")

    @property
    def everything(self) -> bool:
        """Whether it leaves nothing out."""
        return not self.said

    @property
    def said(self) -> dict[str, Any]:
        """What was said, by name."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}

    @property
    def text(self) -> str:
        """The same as JSON text, for the book."""
        return msgspec.json.encode(self.said).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """What an act came to: how many jobs, and the number under which the book has it; None for a dry run. ``runs``:
    how many runs of workflows the filter chose that were left alone, because ``workflows.retry`` is for them."""

    jobs: int
    act: int | None
    runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One act in the book: who did what to which jobs, when, and how many they were in the end."""

    id: int
    at: datetime
    by: str
    act: Act
    filter: dict[str, Any]
    reason: str | None
    jobs: int
    first_id: int | None
    last_id: int | None

    @classmethod
    def read(cls, row: Row) -> Entry:
        """The entry of a row."""
        return cls(**{**row, "filter": msgspec.json.decode(row["filter"])})
