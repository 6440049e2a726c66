"""The claim floor's arithmetic, without a database: claims, listings and probes as they could have answered."""

from __future__ import annotations

import pytest

from perdure.core import limits
from perdure.jobs.floors import Floor, Range, highest, lag_seconds

LANE, OTHER = 4101, 4106


def _listed(floor: Floor, *holders: str, now: float = 0.0, lag: float = 0.0) -> list[Range]:
    return floor.listed(frozenset(holders), now, lag)


def _risen(to: int, *guards: str, floor: Floor | None = None) -> Floor:
    """A floor at a position, guarded by these holders."""
    floor = floor or Floor((LANE,))
    floor.claimed({LANE: to}, short=False)
    _listed(floor, *guards)
    _listed(floor, *guards)
    floor.probed({})
    return floor


def test_a_new_floor_is_at_nought_and_asks_nothing() -> None:
    """A worker that knows nothing claims from the beginning, and has no reason to list the writers."""
    floor = Floor((LANE, OTHER))

    assert [floor.start(lane) for lane in floor.lanes] == [0, 0]
    assert not floor.open
    assert _listed(floor, "1/1") == []


def test_a_candidate_waits_for_its_lag() -> None:
    """The second listing counts only when it is a lag later than the first; then the probe is asked for."""
    floor = Floor((LANE,))
    floor.claimed({LANE: 7}, short=False)

    assert _listed(floor, now=10.0, lag=0.2) == []
    assert _listed(floor, now=10.1, lag=0.2) == []
    assert _listed(floor, now=10.3, lag=0.2) == [Range(LANE, 0, 7)]
    assert floor.start(LANE) == 0
    assert floor.probed({}) is False
    assert floor.start(LANE) == 7


def test_a_visible_row_drops_the_candidate() -> None:
    """What the probe sees below the candidate is still to be claimed: the floor stays. Red without the probe."""
    floor = Floor((LANE,))
    floor.claimed({LANE: 7}, short=False)
    _listed(floor)
    _listed(floor)

    assert floor.probed({0: 3}) is False

    assert (floor.start(LANE), floor.candidate, floor.open) == (0, None, True)


def test_guards_are_those_who_were_there_both_times() -> None:
    """A holder that ended between the listings, or came after the first, guards nothing; a prepared one always does."""
    floor = Floor((LANE,))
    floor.claimed({LANE: 7}, short=False)
    _listed(floor, "1/1", "2/1")
    _listed(floor, "2/1", "3/1", "-1/900")
    floor.probed({})

    assert [step.guards for step in floor.steps] == [{"2/1", "-1/900"}]


def test_a_step_is_swept_when_a_guard_has_gone() -> None:
    """As long as all its guards stand a step isn't probed; when one has gone it is, and keeps the others. Red without
    the guards."""
    floor = _risen(7, "1/1", "2/1")

    assert _listed(floor, "1/1", "2/1", "9/9") == []
    assert _listed(floor, "1/1") == [Range(LANE, 0, 7)]
    assert floor.probed({}) is False
    assert [step.guards for step in floor.steps] == [{"1/1"}]
    assert _listed(floor) == [Range(LANE, 0, 7)]
    floor.probed({})
    assert (floor.steps, floor.open) == ([], False)


def test_a_straggler_is_claimed_from_just_before_it() -> None:
    """Claims start before the lowest straggler until they are past the floor again; the step stays until it is found
    empty."""
    floor = _risen(700, "1/1")
    _listed(floor)

    assert floor.probed({0: 30}) is True
    assert floor.start(LANE) == 29
    floor.claimed({LANE: 40}, short=False)
    assert floor.start(LANE) == 40
    floor.claimed({LANE: 800}, short=False)
    assert floor.start(LANE) == 700
    assert floor.reached[LANE] == 800
    assert Range(LANE, 0, 700) in _listed(floor)


def test_a_short_claim_has_seen_every_straggler() -> None:
    """A claim that came back with fewer rows than it asked for has passed the floor in every lane."""
    floor = _risen(700, "1/1")
    _listed(floor)
    floor.probed({0: 30})

    floor.claimed({LANE: 30}, short=True)

    assert floor.start(LANE) == 700


def test_the_lowest_of_several_stragglers_counts() -> None:
    """Two steps with stragglers in one lane: claims start at the lower one, whichever was answered first."""
    floor = _risen(100, "1/1")
    _risen(200, "1/1", "2/1", floor=floor)
    asked = _listed(floor)

    assert asked[:2] == [Range(LANE, 0, 100), Range(LANE, 100, 200)]
    assert floor.probed({1: 150, 0: 50}) is True
    assert floor.start(LANE) == 49


def test_neighbouring_steps_with_the_same_guards_are_one() -> None:
    """An idle transaction that guards many steps costs one probe when it ends, not one for each."""
    floor = Floor((LANE,))
    for position in (100, 200, 300):
        _risen(position, "1/1", floor=floor)

    assert [(step.low[LANE], step.high[LANE]) for step in floor.steps] == [(0, 300)]
    assert Range(LANE, 0, 300) in _listed(floor)


def test_a_failed_claim_has_every_step_swept() -> None:
    """After a failure there is no candidate, and each step is probed although its guards stand."""
    floor = _risen(100, "1/1")
    floor.claimed({LANE: 200}, short=False)
    _listed(floor, "1/1")

    floor.failed()

    assert floor.candidate is None
    assert _listed(floor, "1/1")[0] == Range(LANE, 0, 100)
    floor.probed({})
    assert floor.steps[0].guards == {"1/1"}


def test_a_reset_floor_knows_nothing() -> None:
    """After a reconnect everything is at nought, steps and stragglers forgotten."""
    floor = _risen(700, "1/1")
    _listed(floor)
    floor.probed({0: 30})

    floor.reset()

    assert (floor.start(LANE), floor.open, floor.stragglers) == (0, False, {})


def test_lanes_without_progress_are_not_probed() -> None:
    """Only lanes in which something was claimed are asked about; a probe's number is its place in the question."""
    floor = Floor((LANE, OTHER))
    floor.claimed({OTHER: 9}, short=False)
    _listed(floor)

    assert _listed(floor) == [Range(OTHER, 0, 9)]
    floor.probed({})
    assert [floor.start(lane) for lane in floor.lanes] == [0, 9]


def test_listing_again_before_the_answer_asks_anew() -> None:
    """When a probe failed, the next listing asks the same question, with the holders of that listing."""
    floor = _risen(7, "1/1", "2/1")
    _listed(floor, "1/1")

    assert _listed(floor) == [Range(LANE, 0, 7)]
    floor.probed({})
    assert floor.steps == []


@pytest.mark.parametrize(("living", "lag"), [(1, 0.2), (10, 0.2), (11, 0.22), (100, 2.0)])
def test_the_lag_grows_with_the_workers(living: int, lag: float) -> None:
    """Many workers list the locks less often each: at least 200 ms, and 20 ms for each of them."""
    found = lag_seconds(living, limits.FLOOR_LAG_SECONDS_MIN, limits.FLOOR_LAG_SECONDS_PER_WORKER)

    assert found == pytest.approx(lag)


def test_the_highest_position_of_each_lane_is_its_last() -> None:
    """A claim's rows come in ascending order within each lane."""
    assert highest([LANE, LANE, OTHER], [3, 7, 5]) == {LANE: 7, OTHER: 5}
