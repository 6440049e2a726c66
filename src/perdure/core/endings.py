"""Ways a handler can end its job other than by returning a value or failing.

Each may be raised or returned: ``raise RetryAfter(30)`` and ``return RetryAfter(30)`` mean the same. They are
exceptions so that they can leave a deep call, and values so that the plain path needs no raise. An option that can't
be meant (a negative delay, a naive datetime) is refused where the ending is made, and counts as a failed attempt.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from . import limits
from .errors import InvalidOption

_SECONDS_MAX = limits.DELAY_DAYS_MAX * 86_400.0
_PAST_SECONDS = 1.0


class Ending(Exception):
    """What a handler raises or returns to say how its job goes on. ``reason`` is kept with the job."""

    reason: str = ""


class RetryAfter(Ending):
    """The attempt failed and the next one should wait at least ``delay``.

    ``delay`` is seconds, a timedelta, an aware datetime, or the text of an HTTP ``Retry-After`` header (seconds or a
    date). It counts as an attempt, like any failure; the retry policy caps it and adds jitter.
    """

    def __init__(self, delay: float | timedelta | datetime | str, reason: str = "") -> None:
        super().__init__(delay, reason)
        self.delay: float | datetime = _read_header(delay) if isinstance(delay, str) else _moment(delay, "RetryAfter")
        self.reason = _bounded(reason)

    def seconds(self, now: datetime) -> float:
        """The wait that was asked for, counted from ``now``; 0 when the moment has passed."""
        return _seconds_until(self.delay, now)


class Snooze(Ending):
    """The job isn't to run now: run it again later, with no attempt charged.

    Either ``for_`` (seconds or a timedelta) or ``until`` (an aware datetime), not both. A moment that has passed means
    a second from now: what says so each time would otherwise run without a pause.
    """

    def __init__(self, for_: float | timedelta | None = None, until: datetime | None = None, reason: str = "") -> None:
        super().__init__(for_, until, reason)
        if (for_ is None) == (until is None):
            raise InvalidOption("takes exactly one of for_ and until", field="Snooze", fix="give one of them")
        if until is not None and not isinstance(until, datetime):
            raise InvalidOption(f"got {_kind(until)}", field="Snooze.until", fix="give an aware datetime")
        self._moment = _moment(until if until is not None else for_, "Snooze")
        self.reason = _bounded(reason)

    def seconds(self, now: datetime) -> float:
        """The wait that was asked for, counted from ``now``."""
        return _seconds_until(self._moment, now) or (_PAST_SECONDS if isinstance(self._moment, datetime) else 0.0)


class Cancel(Ending):
    """The job is not wanted any more: it ends as cancelled, with this reason."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = _bounded(reason)


class Permanent(Ending):
    """The attempt failed and no other one can succeed: the job goes straight to the dead, with this reason."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = _bounded(reason)


def born_inside(waiting: str, error: BaseException) -> RuntimeError:
    """What a cancellation is that nobody has sent to ``waiting`` ("handler", say), but that was born inside of what it
    waited for: a failure like any other. Policies are written for Exceptions, which a CancelledError is none of."""
    failure = RuntimeError(f"something that the {waiting} waited for was cancelled")
    failure.__cause__ = error
    return failure


def _moment(value: object, field: str) -> float | datetime:
    """The value as seconds from now or as an aware moment."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidOption(
                f"{value.isoformat()} has no time zone", field=field, fix="give an aware datetime, as datetime.now(UTC)"
            )
        return value
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidOption(
            f"can't wait for {_kind(value)}", field=field, fix="give seconds, a timedelta or a datetime"
        )
    if not math.isfinite(value) or value < 0:
        raise InvalidOption(f"can't wait for {value} seconds", field=field, fix="give 0 or more")
    return float(min(value, _SECONDS_MAX))


def _read_header(text: str) -> float | datetime:
    """A ``Retry-After`` header's value (RFC 9110, 10.2.3): a count of seconds, or one of HTTP's three date forms."""
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit():
        return float(stripped) if len(stripped) < 16 else _SECONDS_MAX
    try:
        moment = parsedate_to_datetime(stripped)
    except ValueError:
        raise InvalidOption(
            f"{text[:60]!r} is no Retry-After value", field="RetryAfter", fix="give seconds or an HTTP date"
        ) from None
    return moment if moment.utcoffset() is not None else moment.replace(tzinfo=UTC)


def _seconds_until(moment: float | datetime, now: datetime) -> float:
    if isinstance(moment, datetime):
        return min(max((moment - now).total_seconds(), 0.0), _SECONDS_MAX)
    return moment


def _bounded(reason: str) -> str:
    if not isinstance(reason, str):
        raise InvalidOption(f"got {_kind(reason)}", field="reason", fix="give a short text")
    return storable(reason[: limits.REASON_CHARS_MAX])[: limits.REASON_CHARS_MAX]


def storable(text: str) -> str:
    """The text with what Postgres can't keep shown instead: NUL, and half a surrogate pair, which is no UTF-8."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _kind(value: object) -> str:
    return type(value).__name__
