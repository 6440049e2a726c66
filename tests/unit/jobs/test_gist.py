"""The gist of an error: one line of what is kept of it, however many its message, its causes or its members have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pydantic
import pytest
from sqlalchemy.exc import IntegrityError

from perdure import Retry
from perdure.core import limits
from perdure.core.backoff import decide
from perdure.core.endings import Permanent, RetryAfter
from perdure.jobs.rules import describe
from perdure.jobs.view import gist

DECIDED = "attempt 1 of 1 failed"
TASKS = "unhandled errors in a TaskGroup"


class Order(pydantic.BaseModel):
    lines: list[int]


def _unfit() -> None:
    Order(lines=["x"])  # type: ignore[list-item]


def _refused_by_postgres() -> None:
    cause = Exception('duplicate key value violates "orders_pkey"\nDETAIL:  Key (id)=(1) already exists.')
    raise IntegrityError("insert into orders(id) values (1)", {}, cause)


def _answered() -> None:
    raise RuntimeError('HTTP 500 from the carrier:\n{\n  "error": "out of paper"\n}')


def _noted() -> None:
    error = ValueError("no such order\nTraceback: none")
    error.add_note("of the shop in Oslo")
    raise error


def _caused() -> None:
    try:
        _answered()
    except RuntimeError as error:
        raise KeyError("carrier") from error


def _met() -> None:
    try:
        _grouped()
    except ExceptionGroup:
        raise OSError("first\nsecond")  # noqa: B904 - what it met is its context


def _in_parts() -> None:
    raise SyntaxError("invalid syntax", ("rule.txt", 1, 3, "a b\n", 1, 4))


def _grouped() -> None:
    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(_caused))

    asyncio.run(work())


def _nested() -> None:
    raise ExceptionGroup("the shops\nof the north", [ExceptionGroup("Oslo", [ValueError("a\nb")]), OSError("c")])


def _endless() -> None:
    raise ValueError("x" * limits.ERROR_TEXT_CHARS_MAX + "\nthe last words\n}")


def _deep() -> None:
    try:
        _endless()
    except ValueError:
        raise OSError("it ends\nlike this")  # noqa: B904 - what it met is its context


def _kept(act: Callable[[], None]) -> str:
    """What a worker keeps of what the call raises."""
    with pytest.raises(Exception) as caught:
        act()
    return describe(caught.value)


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (_unfit,
         "pydantic_core._pydantic_core.ValidationError: 1 validation error for Order: lines.0: Input should be a valid "
         "integer, unable to parse string as an integer"),
        (_refused_by_postgres,
         'sqlalchemy.exc.IntegrityError: (builtins.Exception) duplicate key value violates "orders_pkey"'),
        (_answered, 'RuntimeError: HTTP 500 from the carrier: "error": "out of paper"'),
        (_noted, "ValueError: no such order"),
        (_caused, "KeyError: 'carrier'"),
        (_met, "OSError: first"),
        (_in_parts, "SyntaxError: invalid syntax"),
        (_grouped, f"ExceptionGroup: {TASKS} (1 sub-exception): KeyError: 'carrier'"),
        (_nested, "ExceptionGroup: the shops: ExceptionGroup: Oslo (1 sub-exception): ValueError: a"),
        (_endless, "the last words"),
        (_deep, "OSError: it ends"),
    ],
)  # fmt: skip
def test_the_gist_is_what_was_raised_however_its_text_goes_on(act: Callable[[], None], told: str) -> None:
    """An exception is told by the first line of its message, a group with its first member, and below it what was
    decided; neither a note, a cause nor the end of a long message stands for it. Red when the end of the text is told.
    """
    kept = _kept(act)

    assert gist(kept) == told
    assert gist(f"{kept}\n{DECIDED}") == f"{told}; {DECIDED}"


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (f"its process was killed\n{DECIDED}\ncrash 1 of 3", f"its process was killed; {DECIDED}; crash 1 of 3"),
        ("charge: isn't what is recorded\n--- recorded\n+++ code\n- charge\n+ pay", "charge: isn't what is recorded"),
        (f"{describe(Permanent('no such order'))}\nno such order", "Permanent: no such order"),
        ("Permanent: no order\nof that name\nno order\nof that name", "Permanent: no order"),
        (f"{_kept(_noted)}\nthe compensation 'refund' failed: []",
         "ValueError: no such order; the compensation 'refund' failed: []"),
        (describe(TimeoutError("still running\nafter 3 s")), "TimeoutError: still running; after 3 s"),
    ],
)  # fmt: skip
def test_the_gist_of_what_was_not_raised_is_its_first_line(kept: str, told: str) -> None:
    """Texts that hold no lines of code are told by their first line and what was decided, and nothing is told twice."""
    assert gist(kept) == told


def _sentences() -> Iterator[str]:
    spans: list[tuple[Retry, float, float | None]] = [
        (Retry(max_attempts=1), 0.0, None), (Retry(), 0.0, None), (Retry(), 0.0, 0.0),
        (Retry(max_elapsed=1), 9.0, None),
        (Retry(retry_on=OSError), 0.0, None), (Retry(never_on=ValueError), 0.0, None),
        (Retry(retry_on=lambda error: bool(1 / 0)), 0.0, None),
    ]  # fmt: skip
    for policy, elapsed, remaining in spans:
        for error in (ValueError("no"), RetryAfter(5), RetryAfter(5, "busy"), Permanent()):
            known = {"elapsed": elapsed, "remaining": remaining}
            yield decide(policy, 1, error, dice=0.5, now=datetime.now(UTC), **known).why  # type: ignore[arg-type]


def test_every_sentence_of_a_decision_is_known_below_an_error() -> None:
    """Whatever the retry policy decides is told beside the error. Red when it has a sentence that gist doesn't know."""
    kept = _kept(_answered)

    for sentence in set(_sentences()):
        assert str(gist(f"{kept}\n{sentence}")).endswith(f"; {sentence}")
