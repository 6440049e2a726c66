"""A handler's own endings: what they accept, how long they ask for, how they travel."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from perdure.core import limits
from perdure.core.endings import Cancel, Ending, Permanent, RetryAfter, Snooze
from perdure.core.errors import InvalidOption

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 1, 1, 12)  # noqa: DTZ001  # the mistake itself


@pytest.mark.parametrize(
    ("ending", "seconds"),
    [
        (Snooze(60), 60),
        (Snooze(timedelta(hours=1)), 3_600),
        (Snooze(until=NOW + timedelta(days=1)), 86_400),
        (Snooze(until=NOW - timedelta(days=1)), 1),
        (Snooze(0), 0),
        (Snooze(1e12), limits.DELAY_DAYS_MAX * 86_400),
        (RetryAfter(" 30 "), 30),
        (RetryAfter("Thu Jan  1 12:00:05 2026"), 5),
    ],
)
def test_a_wait_is_counted_from_now(ending: Snooze | RetryAfter, seconds: float) -> None:
    """Every way of saying when becomes seconds from now, never negative and never without end."""
    assert ending.seconds(NOW) == seconds


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryAfter(-1),
        lambda: RetryAfter(math.nan),
        lambda: RetryAfter(True),
        lambda: RetryAfter("soon"),
        lambda: RetryAfter("-3"),
        lambda: RetryAfter(NAIVE),
        lambda: RetryAfter(1, reason=3),  # type: ignore[arg-type]
        lambda: Snooze(),
        lambda: Snooze(1, NOW),
        lambda: Snooze(until=NAIVE),
        lambda: Snooze(until=60),  # type: ignore[arg-type]
    ],
)
def test_a_wait_that_cannot_be_meant_is_refused(make: Callable[[], Ending]) -> None:
    """Negative, naive, unreadable or contradictory waits are refused where they are written, with the fix."""
    with pytest.raises(InvalidOption) as caught:
        make()

    assert caught.value.field
    assert caught.value.fix


@pytest.mark.parametrize(
    "ending",
    [RetryAfter("30", "busy"), Snooze(until=NOW), Snooze(5, reason="later"), Cancel("unwanted"), Permanent("bad card")],
)
def test_an_ending_survives_the_way_between_processes(ending: Ending) -> None:
    """A handler in a child process may raise any ending; its parent reads the same one."""
    found = pickle.loads(pickle.dumps(ending))

    assert type(found) is type(ending)
    assert found.__dict__ == ending.__dict__


def test_a_long_reason_is_cut() -> None:
    """A reason is kept to its bound, because it is stored with the job."""
    assert len(Cancel("x" * 10_000).reason) == limits.REASON_CHARS_MAX


def test_a_reason_can_be_stored_whatever_is_in_it() -> None:
    """What Postgres can't keep in a text is shown in the reason, which stays within its bound."""
    assert Cancel("a\0b\udc80").reason == "a\\0b\\udc80"
    assert len(Permanent("\0" * limits.REASON_CHARS_MAX).reason) == limits.REASON_CHARS_MAX
