"""When a failed attempt is tried again: delays from (policy, attempt, dice), and the decision itself. Nothing sleeps.

The delay is stored as the job's due time, so no slot and no lease is held while it passes. Doubling delays with full
jitter are the default, because simultaneous failures that wait equally long fail together again (see "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015). The dice is one uniform draw from [0, 1), made by the caller: the
same dice give the same delay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Literal, TypeAlias

from . import limits
from .endings import Permanent, RetryAfter
from .errors import InvalidOption

ErrorTest: TypeAlias = "type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]"
"""Which errors are meant: a class, several, or a function that is given the error."""

SPREAD = 0.1
"""What jitter adds to a delay that was asked for exactly: up to a tenth of it, never less than was asked."""

_DOUBLINGS_MAX = 1_023


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The policy by which failed attempts are repeated. Times are in seconds.

    ``max_attempts``: attempts in all, the first one included; 1 means no retry.
    ``base``, ``cap``: the delay after attempt n is drawn below min(cap, base x 2^(n-1)).
    ``jitter``: "full" draws from [0, that bound); "decorrelated" from [base, 3 x the delay before], capped; "none"
    waits the bound itself.
    ``delays``: the delays after the first attempts, instead of the computed ones; not capped, spread by up to a tenth
    unless the jitter is "none". Later attempts follow the rule above.
    ``max_elapsed``: give up when the next attempt would start later than this after the job was enqueued,
    its own delay and its wait in the queue included.
    ``retry_after_cap``: the longest wait that a handler's ``RetryAfter`` may ask for.
    ``retry_on``, ``never_on``: which errors may be repeated; ``never_on`` wins. They are code, so they are declared on
    the task and never travel with a job.

    The default tries 20 times within an hour: half an hour on average, of which the first nine retries take four
    minutes. Raises InvalidOption, naming the option, for a value that can't be meant.
    """

    max_attempts: int = 20
    base: float = 1.0
    cap: float = 300.0
    jitter: Literal["full", "decorrelated", "none"] = "full"
    delays: tuple[float, ...] = ()
    max_elapsed: float | None = None
    retry_after_cap: float = limits.RETRY_AFTER_SECONDS_MAX
    retry_on: ErrorTest = Exception
    never_on: ErrorTest = ()

    def __post_init__(self) -> None:
        attempts = self.max_attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int):
            raise _refused("max_attempts", attempts, "give a whole number of attempts")
        if not 1 <= attempts <= limits.RETRY_ATTEMPTS_MAX:
            raise _refused("max_attempts", attempts, f"give 1 (no retry) to {limits.RETRY_ATTEMPTS_MAX:,}")
        if not _is_seconds(self.base) or self.base == 0:
            raise _refused("base", self.base, "give more than 0 seconds; delays=(0,) repeats the first attempt at once")
        if not _is_seconds(self.cap) or self.cap < self.base:
            raise _refused("cap", self.cap, f"give seconds, at least base ({self.base:g})")
        if self.jitter not in ("full", "decorrelated", "none"):
            raise _refused("jitter", self.jitter, 'give "full", "decorrelated" or "none"')
        if self.max_elapsed is not None and (not _is_seconds(self.max_elapsed) or self.max_elapsed == 0):
            raise _refused("max_elapsed", self.max_elapsed, "give more than 0 seconds, or None for no bound")
        if not _is_seconds(self.retry_after_cap):
            raise _refused("retry_after_cap", self.retry_after_cap, "give 0 seconds or more")
        if not isinstance(self.delays, (tuple, list)) or not all(map(_is_seconds, self.delays)):
            raise _refused("delays", self.delays, "give a tuple of seconds, each 0 or more")
        object.__setattr__(self, "delays", tuple(self.delays))
        for name in ("retry_on", "never_on"):
            if not _is_test(getattr(self, name)):
                raise _refused(name, getattr(self, name), "give an exception class, a tuple of them, or a function")

    @property
    def travels(self) -> bool:
        """Whether the policy is plain data, so that it can be stored with a job."""
        return self.retry_on is Exception and self.never_on == ()

    def to_options(self) -> dict[str, object]:
        """What differs from the default, as JSON-able data. The predicates are left out: they are code."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in fields(self)
            if field.name not in _CODE and (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def from_options(cls, options: Mapping[str, object], *, code: Retry | None = None) -> Retry:
        """The stored policy, with the predicates of ``code`` (the task's own policy).

        Raises InvalidOption for an option this version doesn't know or can't accept.
        """
        known = {field.name for field in fields(cls)} - _CODE
        for name in options:
            if name not in known:
                raise InvalidOption("no such option", field=f"retry.{name}", fix=f"use {', '.join(sorted(known))}")
        stored = cls(**options)  # type: ignore[arg-type]  # __post_init__ checks each value
        return replace(stored, retry_on=code.retry_on, never_on=code.never_on) if code is not None else stored


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after so many seconds; ``why`` is the sentence that is kept with the attempt."""

    after: float
    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt. ``reason`` is stable, ``why`` is the sentence with the facts."""

    reason: Literal["exhausted", "permanent", "not_retryable", "max_elapsed", "deadline"]
    why: str


def delay(policy: Retry, attempt: int, dice: float, previous: float | None = None) -> float:
    """Seconds to wait after attempt number ``attempt`` (from 1) has failed.

    ``dice`` is in [0, 1). ``previous`` is the delay before this attempt, which only decorrelated jitter uses; without
    it the largest that delay can have been is assumed. Safe for any attempt number.
    """
    if attempt < 1 or not 0.0 <= dice < 1.0:
        raise InvalidOption(
            f"attempt {attempt}, dice {dice}", field="delay", fix="attempts count from 1, dice is in [0, 1)"
        )
    if attempt <= len(policy.delays):
        return _spread(policy, policy.delays[attempt - 1], dice)
    bound = _bound(policy, attempt)
    if policy.jitter == "none":
        return bound
    if policy.jitter == "full":
        return dice * bound
    if previous is None:
        previous = policy.base if attempt == 1 else _bound(policy, attempt - 1)
    return min(policy.cap, policy.base + dice * max(3.0 * previous - policy.base, 0.0))


def decide(
    policy: Retry,
    attempt: int,
    error: BaseException,
    *,
    dice: float,
    now: datetime,
    elapsed: float = 0.0,
    remaining: float | None = None,
    previous: float | None = None,
) -> Again | GiveUp:
    """Whether attempt number ``attempt``, which ended with ``error``, is repeated, and after how long.

    ``elapsed`` is seconds since the job was enqueued, ``remaining`` seconds until its deadline (None: it has none).
    A ``RetryAfter`` is honoured up to the policy's ``retry_after_cap``, whatever ``retry_on`` says, but counts as an
    attempt. A retry that would start past the deadline isn't waited for: the job gives up now, with both facts.
    """
    if isinstance(error, Permanent):
        return GiveUp("permanent", error.reason or "the handler declared the failure permanent")
    refusal, remark = ("", "") if isinstance(error, RetryAfter) else _judge(policy, error)
    if refusal:
        return GiveUp("not_retryable", refusal)
    if attempt >= policy.max_attempts:
        return GiveUp("exhausted", f"attempt {attempt} of {policy.max_attempts} failed")
    if isinstance(error, RetryAfter):
        after, why = _asked_delay(policy, error, dice, now)
    else:
        after = delay(policy, attempt, dice, previous)
        why = f"attempt {attempt} of {policy.max_attempts} failed, next in {after:.3f} s{remark}"
    if remaining is not None and after > remaining:
        left = max(remaining, 0.0)
        return GiveUp(
            "deadline", f"the next attempt would start in {after:.3f} s, and {left:.3f} s remain to the deadline"
        )
    if policy.max_elapsed is not None and elapsed + after > policy.max_elapsed:
        return GiveUp(
            "max_elapsed",
            f"{elapsed:.3f} s have passed, the next attempt would start in {after:.3f} s, "
            f"and the policy allows {policy.max_elapsed:g} s in all",
        )
    return Again(after, why)


_CODE = frozenset({"retry_on", "never_on"})


def _asked_delay(policy: Retry, asked: RetryAfter, dice: float, now: datetime) -> tuple[float, str]:
    wanted = asked.seconds(now)
    after = _spread(policy, min(wanted, policy.retry_after_cap), dice)
    why = f"asked to wait {wanted:.3f} s"
    if wanted > policy.retry_after_cap:
        why += f", capped at {policy.retry_after_cap:g} s"
    if asked.reason:
        why += f": {asked.reason}"
    return after, f"{why}, next in {after:.3f} s"


def _judge(policy: Retry, error: BaseException) -> tuple[str, str]:
    """Why the policy refuses to repeat this error ("" when it doesn't), and a remark on a predicate that failed.

    A predicate that raises has settled nothing about the job, so the error counts as retryable; the remark says so.
    """
    name = type(error).__name__
    try:
        if _matches(policy.never_on, error):
            return f"{name} is never retried by the task's policy (never_on)", ""
        if not _matches(policy.retry_on, error):
            return f"{name} is not among the errors that the task's policy retries (retry_on)", ""
    except Exception as failure:
        return "", f" (the policy's own test failed on {name}: {failure!r})"
    return "", ""


def _matches(test: ErrorTest, error: BaseException) -> bool:
    return isinstance(error, test) if isinstance(test, (type, tuple)) else bool(test(error))


def _bound(policy: Retry, attempt: int) -> float:
    """min(cap, base x 2^(attempt-1)); the exponent stops where a float would overflow, and infinity meets the cap."""
    return min(policy.cap, policy.base * 2.0 ** min(attempt - 1, _DOUBLINGS_MAX))


def _spread(policy: Retry, seconds: float, dice: float) -> float:
    return seconds if policy.jitter == "none" else seconds * (1.0 + SPREAD * dice)


def _is_seconds(value: object) -> bool:
    """Whether the value is a finite number of seconds, 0 or more, that a due time can still hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and 0 <= value <= limits.DELAY_DAYS_MAX * 86_400


def _is_test(value: object) -> bool:
    classes = value if isinstance(value, tuple) else (value,)
    if all(isinstance(each, type) and issubclass(each, BaseException) for each in classes):
        return True
    return callable(value) and not isinstance(value, type)


def _refused(option: str, value: object, fix: str) -> InvalidOption:
    return InvalidOption(f"{value!r} is not allowed", field=f"retry.{option}", fix=fix)
