"""Checks of single options that tasks and jobs share."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perdure.core import check, limits
from perdure.core.errors import InvalidOption


@pytest.mark.parametrize("value", ["mail", "eu-west/mail.high", "Zażółć", "9lives", "a" * 100])
def test_a_name_is_letters_digits_and_four_signs(value: str) -> None:
    """Names may be written in any alphabet."""
    assert check.name("queue", value, limits.QUEUE_NAME_CHARS_MAX) == value


@pytest.mark.parametrize(
    "value", ["", " ", "a b", "mail:10", "a,b", "-a", ".a", "a\n", "a\0", "\ud800", "a" * 101, 3, None]
)
def test_a_name_that_would_break_a_command_line_is_refused(value: object) -> None:
    """What ``--queues mail:10,default:50`` couldn't be split around, or Postgres not store, is no name."""
    with pytest.raises(InvalidOption, match=r"^queue: "):
        check.name("queue", value, limits.QUEUE_NAME_CHARS_MAX)


def test_times_are_kept_in_one_form() -> None:
    """Waits become timedeltas and time-outs seconds, whichever was given."""
    assert check.delay("delay", 1.5) == timedelta(seconds=1.5)
    assert check.seconds("timeout", timedelta(minutes=1)) == 60.0


def test_a_refusal_is_short_however_long_the_value() -> None:
    """An error shows the value, but not all of it."""
    with pytest.raises(InvalidOption) as caught:
        check.priority("priority", "x" * 10_000)

    assert len(str(caught.value)) < 200
