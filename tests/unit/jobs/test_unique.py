"""What may be said about unique keys, and what contradicts itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perdure import JobSpec, Unique
from perdure.core.errors import InvalidOption

SPEC = JobSpec(task="ship", payload="{}")

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an empty key": ({"unique": ""}, "unique.key"),
    "a key too long": ({"unique": "k" * 256}, "unique.key"),
    "a number": ({"unique": 9182}, "unique"),
    "a conflict alone": ({"on_conflict": "raise"}, "on_conflict"),
    "a conflict and no key": ({"on_conflict": "skip", "unique": False}, "on_conflict"),
    "an unknown conflict": ({"unique": "k", "on_conflict": "fight"}, "on_conflict"),
    "replace for another task": ({"unique": Unique("k", scope="everywhere"), "on_conflict": "replace"}, "on_conflict"),
}

CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a lifetime and freed at the start": ({"until": "started", "lifetime": 60}, "unique.lifetime"),
    "until it expires, which is never": ({"until": "expired"}, "unique.until"),
    "a lifetime of nothing": ({"lifetime": 0}, "unique.lifetime"),
    "a lifetime that is a moment": ({"lifetime": datetime(2037, 1, 1, tzinfo=UTC)}, "unique.lifetime"),
    "an unknown scope": ({"scope": "galaxy"}, "unique.scope"),
    "an unknown until": ({"until": "noon"}, "unique.until"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_job_may_not_say_is_refused_by_name(name: str) -> None:
    """What can't be a unique key, or says what to do about a key that isn't there, is refused with the option's name
    and a fix."""
    options, field = REFUSED[name]
    with pytest.raises(InvalidOption) as caught:
        SPEC.options(**options)

    assert (caught.value.field, bool(caught.value.fix)) == (field, True)


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_uniqueness_that_contradicts_itself_is_refused_by_name(name: str) -> None:
    """A Unique that can't be kept, or can be meant in two ways, is refused with the option's name and a fix [DW-60]."""
    options, field = CONTRADICTIONS[name]
    with pytest.raises(InvalidOption) as caught:
        Unique("k", **options)

    assert (caught.value.field, bool(caught.value.fix)) == (field, True)


def test_a_lifetime_of_nothing_is_refused_in_its_own_words() -> None:
    """The fix for a lifetime of nothing speaks of the key. Red when it is checked, and told, as a job's expiry."""
    with pytest.raises(InvalidOption, match=r"0 is not allowed; give more than 0, .* the key is then free"):
        Unique("k", lifetime=0)


def test_a_key_may_be_said_in_four_ways() -> None:
    """A text is the key, True makes it from the arguments, a Unique says everything, and None or False is none."""
    said = [SPEC.options(unique=unique).unique for unique in ("k", True, Unique("k", lifetime=60), None, False)]

    assert said == [Unique("k"), Unique(), Unique("k", lifetime=timedelta(seconds=60)), None, None]


def test_keys_of_arguments_are_known_for_what_they_are() -> None:
    """A key made from arguments is short, says so, and is the same in any process."""
    key = Unique().key_for('{"order_id": 9182}')

    assert key == Unique().key_for('{"order_id":9182}')
    assert key == "arguments:7d9d9cee8678eb02615382cbf8f2954a79f5b1bd"
