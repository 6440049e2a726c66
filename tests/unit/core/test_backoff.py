"""Delays and the decision to try again: pure, so every case is a table or a property."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core import limits
from perdure.core.backoff import SPREAD, Again, GiveUp, Retry, decide, delay
from perdure.core.endings import Permanent, RetryAfter
from perdure.core.errors import InvalidOption

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLAIN = Retry(max_attempts=5, jitter="none")

seconds = st.floats(min_value=1e-9, max_value=1e8, allow_nan=False)
policies = st.builds(
    lambda base, more, jitter, delays: Retry(base=base, cap=base + more, jitter=jitter, delays=tuple(delays)),
    seconds,
    seconds,
    st.sampled_from(["full", "decorrelated", "none"]),
    st.lists(seconds, max_size=3),
)
dice = st.floats(min_value=0, max_value=1, exclude_max=True)
attempts = st.one_of(st.integers(1, 70), st.integers(1, limits.RETRY_ATTEMPTS_MAX), st.just(10**9))


@given(policies, attempts, dice, st.none() | seconds)
def test_a_delay_is_finite_and_bounded_for_any_attempt(
    policy: Retry, attempt: int, chance: float, previous: float | None
) -> None:
    """From the first attempt to the billionth a delay is a number between 0 and the cap, or what the policy's own
    sequence says, spread by a tenth [KIT-26] (guard: the exponent's bound, without which attempt 1,100 overflows)."""
    found = delay(policy, attempt, chance, previous)

    if attempt <= len(policy.delays):
        said = policy.delays[attempt - 1]
        assert said <= found <= said * (1 + SPREAD)
    else:
        assert 0 <= found <= policy.cap
    assert math.isfinite(found)


@given(policies, attempts, dice)
def test_the_same_dice_give_the_same_delay(policy: Retry, attempt: int, chance: float) -> None:
    """A delay depends on its arguments alone [KIT-21] (guard: no dice of its own)."""
    assert delay(policy, attempt, chance) == delay(policy, attempt, chance)


@given(st.integers(1, 100))
def test_bounds_double_up_to_the_cap(attempt: int) -> None:
    """Without jitter the delay after attempt n is base x 2^(n-1), at most the cap."""
    assert delay(Retry(base=0.5, cap=300, jitter="none"), attempt, 0) == min(300, 0.5 * 2 ** (attempt - 1))


@pytest.mark.parametrize("jitter", ["full", "decorrelated"])
def test_simultaneous_failures_do_not_come_back_together(jitter: Any) -> None:
    """1,000 jobs that failed at once for the sixth time come back over half a minute: no second of it sees more than
    6 % of them [KIT-21] (guard: the factor ``dice`` in ``delay``)."""
    policy, rolled = Retry(base=1, cap=300, jitter=jitter), Random(9182)
    buckets = Counter(int(delay(policy, 6, rolled.random())) for _ in range(1_000))

    assert max(buckets.values()) <= 60
    assert len(buckets) >= 30


def test_exact_delays_are_spread_too() -> None:
    """Jobs told to wait equally long, by the policy's sequence or by Retry-After, don't come back together [KIT-21]."""
    rolled = Random(9182)
    policy = Retry(delays=(100,))
    waits = [delay(policy, 1, rolled.random()) for _ in range(1_000)]
    asked = [_again(decide(policy, 2, RetryAfter(100), dice=rolled.random(), now=NOW)).after for _ in range(1_000)]

    for found in (waits, asked):
        assert min(found) >= 100
        assert max(Counter(int(each) for each in found).values()) <= 150


def test_decorrelated_jitter_follows_the_delay_before() -> None:
    """Decorrelated delays are drawn between the base and three times the last one, at most the cap."""
    policy = Retry(base=1, cap=50, jitter="decorrelated")

    assert delay(policy, 3, 0.0, previous=10) == 1
    assert delay(policy, 3, 0.5, previous=10) == 15.5
    assert delay(policy, 3, 0.999, previous=40) == 50


def test_a_delay_sequence_overrides_the_first_attempts() -> None:
    """``delays`` says what the first attempts wait; later ones follow the rule for their own number [KIT-26]."""
    policy = Retry(base=1, cap=300, jitter="none", delays=(0, 5))

    assert [delay(policy, attempt, 0) for attempt in (1, 2, 3, 4)] == [0, 5, 4, 8]


@pytest.mark.parametrize(("attempt", "chance"), [(0, 0.5), (-1, 0.5), (1, 1.0), (1, -0.1), (1, math.nan)])
def test_a_delay_has_no_attempt_before_the_first(attempt: int, chance: float) -> None:
    """An attempt below 1, or dice outside [0, 1), is refused and not computed with [KIT-26]."""
    with pytest.raises(InvalidOption, match="delay: attempt"):
        delay(PLAIN, attempt, chance)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", -1),
        ("max_attempts", True),
        ("max_attempts", 2.0),
        ("max_attempts", limits.RETRY_ATTEMPTS_MAX + 1),
        ("base", 0),
        ("base", -1),
        ("base", math.nan),
        ("base", "1"),
        ("cap", 0.5),
        ("cap", math.inf),
        ("jitter", "some"),
        ("max_elapsed", 0),
        ("retry_after_cap", -1),
        ("delays", (1, -1)),
        ("delays", 3),
        ("retry_on", int),
        ("never_on", (OSError, "x")),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(option: str, value: object) -> None:
    """Zero, negative, infinite and mistyped options are refused by name when the policy is made [KIT-26]."""
    with pytest.raises(InvalidOption) as caught:
        Retry(**{option: value})  # type: ignore[arg-type]

    assert caught.value.field == f"retry.{option}"
    assert caught.value.fix


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [
        (RetryAfter(30), 30, 33),
        (RetryAfter("120"), 120, 132),
        (RetryAfter("Thu, 01 Jan 2026 12:01:40 GMT"), 100, 110),
        (RetryAfter("Thursday, 01-Jan-26 12:01:40 GMT"), 100, 110),
        (RetryAfter(NOW + timedelta(minutes=5)), 300, 330),
        (RetryAfter(timedelta(seconds=7)), 7, 7.7),
        (RetryAfter("Thu, 01 Jan 2026 11:00:00 GMT"), 0, 0),
        (RetryAfter(86_400), 3_600, 3_960),
        (RetryAfter("9" * 400), 3_600, 3_960),
    ],
)
def test_retry_after_is_honoured_and_capped(asked: RetryAfter, low: float, high: float) -> None:
    """A wait asked for in seconds or as an HTTP date is never shortened, is capped at the policy's hour, and is spread
    by up to a tenth [KIT-22] (guard: ``min(wanted, retry_after_cap)``)."""
    found = [_again(decide(Retry(), 1, asked, dice=chance, now=NOW)).after for chance in (0.0, 0.999)]

    assert found[0] == low
    assert low <= found[1] <= high


def test_a_capped_wait_says_so() -> None:
    """The sentence kept with the attempt names both the wait that was asked for and the cap [KIT-22]."""
    found = _again(decide(Retry(), 1, RetryAfter(86_400, "quota"), dice=0, now=NOW))

    assert found.why == "asked to wait 86400.000 s, capped at 3600 s: quota, next in 3600.000 s"


@pytest.mark.parametrize(
    ("policy", "error", "reason"),
    [
        (PLAIN, OSError(), None),
        (Retry(never_on=(ValueError, KeyError)), KeyError(), "not_retryable"),
        (Retry(retry_on=OSError), ValueError(), "not_retryable"),
        (Retry(retry_on=OSError, never_on=FileNotFoundError), FileNotFoundError(), "not_retryable"),
        (Retry(retry_on=lambda error: "429" in str(error)), RuntimeError("429 slow down"), None),
        (Retry(retry_on=lambda error: "429" in str(error)), RuntimeError("404"), "not_retryable"),
        (Retry(retry_on=OSError), RetryAfter(1), None),
        (PLAIN, Permanent("no such order"), "permanent"),
        (PLAIN, SystemExit(), "not_retryable"),
    ],
)
def test_a_policy_repeats_only_the_errors_it_names(policy: Retry, error: BaseException, reason: str | None) -> None:
    """An error is repeated when ``retry_on`` means it and ``never_on`` doesn't, by class or by a function [KIT-22]."""
    found = decide(policy, 1, error, dice=0, now=NOW)

    assert (found.reason if isinstance(found, GiveUp) else None) == reason


def test_a_predicate_that_fails_decides_nothing() -> None:
    """When the policy's own test raises, the attempt is repeated, and the sentence says what the test raised."""
    policy = Retry(retry_on=lambda error: bool(error.response))  # type: ignore[attr-defined]

    found = _again(decide(policy, 1, RuntimeError(), dice=0, now=NOW))

    assert "own test failed on RuntimeError: AttributeError" in found.why


def test_a_retry_past_the_deadline_fails_now() -> None:
    """With 2 s left and a delay of 5 s the job gives up at once, and says both figures [KIT-23] (guard: the comparison
    with ``remaining``)."""
    policy = Retry(jitter="none", delays=(5,))

    found = decide(policy, 1, OSError(), dice=0, now=NOW, remaining=2)

    assert isinstance(found, GiveUp)
    assert found.reason == "deadline"
    assert "5.000 s" in found.why
    assert "2.000 s" in found.why
    assert _again(decide(policy, 1, OSError(), dice=0, now=NOW, remaining=5)).after == 5


def test_max_elapsed_bounds_the_whole() -> None:
    """No attempt is started later than ``max_elapsed`` after the job was enqueued [KIT-21]."""
    policy = Retry(jitter="none", delays=(5, 5), max_elapsed=60)

    assert isinstance(decide(policy, 1, OSError(), dice=0, now=NOW, elapsed=55), Again)
    found = decide(policy, 1, OSError(), dice=0, now=NOW, elapsed=55.001)
    assert isinstance(found, GiveUp)
    assert found.reason == "max_elapsed"


def test_the_last_attempt_is_the_last() -> None:
    """``max_attempts`` counts the first attempt, and no RetryAfter gets past it."""
    assert isinstance(decide(PLAIN, 4, OSError(), dice=0, now=NOW), Again)
    for error in (OSError(), RetryAfter(1)):
        assert decide(PLAIN, 5, error, dice=0, now=NOW) == GiveUp("exhausted", "attempt 5 of 5 failed")


@given(policies)
def test_a_stored_policy_comes_back_the_same(policy: Retry) -> None:
    """A policy that travels as options is the one that was said, with the predicates of the task's code."""
    code = Retry(retry_on=OSError, never_on=FileNotFoundError)

    assert Retry.from_options(policy.to_options()) == policy
    found = Retry.from_options(policy.to_options(), code=code)
    assert (found.retry_on, found.never_on, found.base) == (OSError, FileNotFoundError, policy.base)


def test_a_stored_policy_of_another_version_is_refused() -> None:
    """An option this version doesn't know is refused by name, and predicates never come from the database."""
    for option in ("retry_on", "patience"):
        with pytest.raises(InvalidOption, match=f"retry.{option}: no such option"):
            Retry.from_options({option: 1})


def _again(found: Again | GiveUp) -> Again:
    assert isinstance(found, Again)
    return found
