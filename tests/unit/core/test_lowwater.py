"""The low-water mark: what is done out of order is neither skipped nor done again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core import limits
from perdure.core.errors import InvalidOption
from perdure.core.lowwater import LowWater


def test_what_was_slow_when_it_crashed_is_done_again_and_nothing_else() -> None:
    """Items 1 to 10 are under way at once, 3, 5 and 9 are slow, the process dies: those three are redone, none is
    skipped [PAT-8]. Red when the state is the highest position, or only the mark."""
    marks = LowWater()
    for position in (1, 2, 4, 10, 6, 7, 8):
        marks.done(position)

    after = LowWater(json.loads(json.dumps(marks.state)))

    assert after.low() == 2
    assert [position for position in range(1, 11) if not after.is_done(position)] == [3, 5, 9]


def test_each_partition_has_its_own_mark() -> None:
    """Positions of one partition say nothing about another's [PAT-8]."""
    marks = LowWater()
    marks.done(1, "eu")
    marks.done(2, "us")

    assert marks.state == {"eu": {"low": 1, "above": []}, "us": {"low": 0, "above": [2]}}
    assert (marks.low("eu"), marks.low("us"), marks.low("asia")) == (1, 0, 0)
    assert not marks.is_done(1, "us")


@given(st.lists(st.integers(1, 30)))
def test_the_state_is_what_was_done_whatever_the_order(positions: list[int]) -> None:
    """Whatever is said to be done, in whatever order and however often, is done, and nothing else is; nothing stands
    twice, and the mark is as high as it can be."""
    marks = LowWater()
    for position in positions:
        marks = LowWater(marks.state)
        marks.done(position)

    assert {position for position in range(1, 31) if marks.is_done(position)} == set(positions)
    assert marks.low() + 1 not in set(positions)


def test_a_state_that_would_grow_without_end_is_refused() -> None:
    """One slow item and ten thousand done after it: the caller hears that it must wait. So does what is no position."""
    marks = LowWater()
    for position in range(2, limits.LOW_WATER_ABOVE_MAX + 2):
        marks.done(position)
    with pytest.raises(InvalidOption, match="10,001 items are done after 1, which isn't"):
        marks.done(limits.LOW_WATER_ABOVE_MAX + 2)
    for wrong in (0, -1, True):
        with pytest.raises(InvalidOption, match="is no position"):
            marks.done(wrong)
