"""Where a claim begins between two floors: at the floor when that is cheap or needed, else past the last claim."""

from __future__ import annotations

from perdure.jobs.floors import WALK_SECONDS_PER_POSITION, WALK_SHARE, Floor

LANE = 4096
SPAN = 20_000
COST = SPAN * WALK_SECONDS_PER_POSITION / WALK_SHARE


def _moving() -> Floor:
    """A floor at nought whose claims have reached SPAN, the last of them at second 100."""
    floor = Floor((LANE,))
    assert floor.starts(100.0) == [0]
    floor.claimed({LANE: SPAN}, short=False)
    return floor


def test_the_walk_over_claimed_rows_takes_its_share_of_the_time() -> None:
    """Claims begin past the last one until the walk from the floor is a tenth of the time gone by."""
    floor = _moving()

    assert floor.starts(100.0 + COST * 0.9) == [SPAN]
    assert floor.starts(100.0 + COST * 1.1) == [0]
    assert floor.starts(100.0 + COST * 1.2) == [SPAN]


def test_a_short_claim_past_the_floor_is_followed_by_one_from_it() -> None:
    """A queue is taken for empty only by a claim that saw all of it, so a late commit isn't left for a poll."""
    floor = _moving()
    floor.starts(100.0 + COST * 0.1)

    assert not floor.claimed({}, short=True)
    assert floor.starts(100.0 + COST * 0.2) == [0]
    assert floor.claimed({}, short=True)


def test_a_claim_begins_at_the_floor_after_a_failure_and_after_a_blocked_candidate() -> None:
    """Rows of a claim that came back, or that the probe saw, stand above the floor and below the last claim."""
    failed, blocked = _moving(), _moving()
    failed.failed()
    blocked.listed(frozenset(), 100.0, 0.2)
    assert len(blocked.listed(frozenset(), 100.2, 0.2)) == 1
    blocked.probed({0: 7})

    assert failed.starts(100.0) == [0]
    assert blocked.starts(100.0) == [0]


def test_a_straggler_is_always_in_reach() -> None:
    """A lane with a straggler begins before it, whatever the time."""
    floor = _moving()
    floor.stragglers[LANE] = 6

    assert floor.starts(100.0) == [6]
