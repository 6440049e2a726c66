"""JobSpec: each option is checked when it is said."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from perdure.core.backoff import Retry
from perdure.core.errors import InvalidOption
from perdure.jobs.model import JobSpec

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 1, 1, 12)  # noqa: DTZ001  # the mistake itself
SPEC = JobSpec(task="send_receipt", payload="{}")


def test_options_change_a_copy() -> None:
    """``options`` returns a job with the options said, in one form, and leaves the first one as it was."""
    changed = SPEC.options(queue="mail", key="order:9182", delay=3, expires=60, timeout=timedelta(minutes=1))

    assert (changed.queue, changed.key, changed.timeout) == ("mail", "order:9182", 60.0)
    assert (changed.delay, changed.expires) == (timedelta(seconds=3), timedelta(seconds=60))
    assert SPEC.options(tags=["a", "b", "a"]).tags == ("a", "b")
    assert (SPEC.queue, SPEC.key, SPEC.delay) == ("default", None, None)
    assert SPEC.options(retry=Retry(max_attempts=3)).retry == Retry(max_attempts=3)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue", ""),
        ("queue", ["mail"]),
        ("key", ""),
        ("key", "a\0"),
        ("key", "k" * 256),
        ("priority", -1),
        ("priority", 10),
        ("priority", True),
        ("priority", "high"),
        ("delay", -1),
        ("delay", math.nan),
        ("delay", "5m"),
        ("delay", timedelta(days=36_500)),
        ("run_at", NAIVE),
        ("run_at", "2026-01-01"),
        ("run_at", datetime.max.replace(tzinfo=UTC)),
        ("run_at", datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))),
        ("expires", 0),
        ("expires", NAIVE),
        ("expires", datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))),
        ("timeout", 0),
        ("timeout", math.inf),
        ("timeout", 10**9),
        ("retry", 3),
        ("retry", Retry(retry_on=OSError)),
        ("tags", "urgent"),
        ("tags", [""]),
        ("tags", ["t"] * 17),
        ("tags", ["t" * 65]),
        ("at_most_once", 1),
        ("task", "other"),
        ("payload", "{}"),
        ("nope", 1),
    ],
)
def test_a_bad_option_is_refused_by_name(option: str, value: Any) -> None:
    """Each option outside its bounds, and each that doesn't exist, gives one error that names it and the fix."""
    with pytest.raises(InvalidOption) as caught:
        SPEC.options(**{option: value})

    assert caught.value.field == option
    assert caught.value.fix


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 1, "run_at": NOW},
        {"delay": 60, "expires": 60},
        {"run_at": NOW, "expires": NOW - timedelta(seconds=1)},
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    """Two due times, or an expiry that comes before the job is due, can't both be meant."""
    with pytest.raises(InvalidOption):
        SPEC.options(**options)


def test_a_task_must_have_a_name() -> None:
    """A job of no task is refused, wherever it comes from."""
    with pytest.raises(InvalidOption, match=r"^task: "):
        JobSpec(task="", payload="{}")
