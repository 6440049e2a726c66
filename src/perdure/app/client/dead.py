"""What the nouns know about acts on many dead jobs: which are allowed, and what each step of one is."""

from __future__ import annotations

from typing import Any

from ...core import check, limits
from ...core.errors import InvalidOption
from ...core.op import Op
from ...jobs.letters import Act, Acted, Chosen, Entry, NothingMatches
from ...jobs.ops import letters

ACTS_MAX = 1_000
RATE_MAX = 1_000_000.0


def chosen(options: dict[str, Any]) -> Chosen:
    """The filter of these options. Raises InvalidOption."""
    unknown = options.keys() - set(Chosen.__dataclass_fields__)
    for option in sorted(unknown):
        raise InvalidOption("is no filter", field=option, fix=f"use {', '.join(Chosen.__dataclass_fields__)}")
    return Chosen(**options)


def count(options: dict[str, Any]) -> Op[int]:
    """How many dead jobs the filter chooses. Raises InvalidOption."""
    return (yield from letters.count(chosen(options))).chosen


def begin(
    act: Act,
    options: dict[str, Any],
    *,
    by: str,
    everything: bool,
    reason: str | None = None,
    rate: float | None = None,
) -> Op[letters.Doing]:
    """An act that may be done. Raises InvalidOption for a filter that leaves nothing out, or turns out to choose every
    one of several dead jobs, when that wasn't said to be meant; and NothingMatches."""
    which = chosen(options)
    check.flag("everything", everything)
    if which.everything and not everything:
        raise InvalidOption(
            "is empty, and would choose every dead job", field="filter", fix="narrow it, or say everything=True"
        )
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= RATE_MAX):
        raise InvalidOption(f"{rate!r} is not allowed", field="rate", fix=f"give jobs a second, at most {RATE_MAX:,}")
    who = check.text("by", by, limits.CONTEXT_CHARS_MAX)
    why = None if reason is None else check.text("reason", reason, limits.REASON_CHARS_MAX)
    found = yield from letters.count(which)
    if not found.chosen:
        problem = f"no dead job matches {which.text}, of {found.of:,}" if found.of else "there is no dead job"
        raise NothingMatches(problem, field="filter", fix="see jobs.list(place='dead')")
    if found.chosen == found.of > 1 and not everything:
        raise InvalidOption(
            f"{which.text} chooses all of the {found.of:,} dead jobs",
            field="filter",
            fix="narrow it, or say everything=True",
        )
    left = found.left(act)
    if left == found.chosen:
        raise NothingMatches(
            f"{which.text} chooses nothing but runs of workflows, {left:,} of them",
            field="filter",
            fix="take back what failed in each: workflows.retry",
        )
    return letters.Doing(act, which, who, found.clock, why, rate, left)


def done(doing: letters.Doing) -> Acted:
    """What it came to."""
    return Acted(jobs=doing.jobs, act=doing.entry, runs=doing.runs)


def acts(limit: int) -> Op[list[Entry]]:
    """The book. Raises InvalidOption."""
    return (yield from letters.acts(check.number("limit", limit, ACTS_MAX)))
