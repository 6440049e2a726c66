"""What an option may be, whether a task declares it or an enqueue says it. Each check returns the value to keep.

Every refusal is InvalidOption with the option's name, what was given and what to give instead. NUL characters and
lone surrogates are refused in every text, because Postgres can't store them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TypeGuard

from . import limits
from .errors import InvalidOption

_NAME = re.compile(r"\w[\w.\-/]*")


def name(option: str, value: object, chars_max: int) -> str:
    """The name of a task, a queue or an app: letters, digits and ``_ . - /``, no blank, ``:`` or ``,`` in it."""
    return _known_name(option, value, chars_max) if isinstance(value, str) else text(option, value, chars_max)


@lru_cache(maxsize=1_024)
def _known_name(option: str, value: str, chars_max: int) -> str:
    """The check of a name, remembered: thousands of jobs share a few queues."""
    text(option, value, chars_max)
    if not _NAME.fullmatch(value):
        raise _refused(option, value, "use letters, digits, _ . - and /, beginning with a letter or digit")
    return value


def text(option: str, value: object, chars_max: int) -> str:
    """A text that isn't empty, that Postgres can store, and that is at most so long."""
    if not isinstance(value, str):
        raise _refused(option, value, "give a text")
    if not value:
        raise _refused(option, value, "give at least one character")
    if len(value) > chars_max:
        raise InvalidOption(f"has {len(value):,} characters", field=option, fix=f"give at most {chars_max:,}")
    if "\0" in value or not _is_utf8(value):
        raise _refused(option, value, "remove what Postgres can't store as text (NUL, lone surrogates)")
    return value


def priority(option: str, value: object) -> int:
    """0 (first) to 9 (last)."""
    if isinstance(value, bool) or not isinstance(value, int) or not limits.PRIORITY_MIN <= value <= limits.PRIORITY_MAX:
        raise _refused(option, value, f"give {limits.PRIORITY_MIN} (first) to {limits.PRIORITY_MAX} (last)")
    return value


def version(option: str, value: object) -> int:
    """1 and up."""
    return number(option, value, limits.VERSION_MAX)


def seconds(option: str, value: object) -> float:
    """How long one attempt may run, from a number of seconds or a timedelta."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    maximum = limits.TIMEOUT_SECONDS_MAX
    if not _is_number(value) or not 0 < value <= maximum:
        raise _refused(option, value, f"give more than 0 seconds, at most {maximum:,}")
    return float(value)


def delay(option: str, value: object) -> timedelta:
    """A wait of 0 or more, from a timedelta or a number of seconds."""
    waited = value.total_seconds() if isinstance(value, timedelta) else value
    if not _is_number(waited):
        raise _refused(option, value, "give a timedelta, or seconds")
    if not 0 <= waited <= limits.DELAY_DAYS_MAX * 86_400:
        raise _refused(option, value, f"give 0 or more, at most {limits.DELAY_DAYS_MAX:,} days")
    return value if isinstance(value, timedelta) else timedelta(seconds=waited)


def moment(option: str, value: object) -> datetime:
    """An aware datetime, of a year that every driver and every time zone can hold."""
    if not isinstance(value, datetime):
        raise _refused(option, value, "give an aware datetime")
    if value.utcoffset() is None:
        raise InvalidOption(
            f"{value.isoformat()} has no time zone", field=option, fix="give an aware datetime, as datetime.now(UTC)"
        )
    if not limits.MOMENT_MIN <= value < limits.MOMENT_MAX:
        years = f"{limits.MOMENT_MIN.year} to {limits.MOMENT_MAX.year - 1}"
        raise InvalidOption(f"{value.isoformat()} is too far away", field=option, fix=f"give a year of {years}")
    return value


def expiry(option: str, value: object) -> datetime | timedelta:
    """When a job that hasn't started isn't wanted any more: an aware datetime, or a time from enqueue, more than 0."""
    if isinstance(value, datetime):
        return moment(option, value)
    waited = delay(option, value)
    if not waited:
        raise _refused(option, value, "give more than 0, or the job would never run")
    return waited


def tags(option: str, value: object) -> tuple[str, ...]:
    """A few short texts, each once, in the order given."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _refused(option, value, "give a tuple of texts")
    if len(value) > limits.TAGS_MAX:
        raise InvalidOption(f"has {len(value)} tags", field=option, fix=f"give at most {limits.TAGS_MAX}")
    return tuple(dict.fromkeys(text(option, tag, limits.TAG_CHARS_MAX) for tag in value))


def flag(option: str, value: object) -> bool:
    """True or False, and nothing that merely counts as one."""
    if not isinstance(value, bool):
        raise _refused(option, value, "give True or False")
    return value


def number(option: str, value: object, maximum: int) -> int:
    """A whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        raise _refused(option, value, f"give 1 to {maximum:,}")
    return value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(option: str, value: object, fix: str) -> InvalidOption:
    shown = repr(value)
    return InvalidOption(f"{shown if len(shown) <= 80 else shown[:77] + '…'} is not allowed", field=option, fix=fix)
