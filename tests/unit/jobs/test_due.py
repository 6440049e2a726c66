"""The floor of what is scheduled, as arithmetic: when it rises, when it rests, and when it starts anew."""

from __future__ import annotations

from perdure.jobs.due import CLOCK_STEP_SECONDS, SLACK_MICROS, Due

SECOND = 1_000_000
BEGAN = 1_700_000_000 * SECOND
NOBODY: frozenset[str] = frozenset()


def _look(due: Due, at: float, head: float | None) -> None:
    """A look so many seconds after the beginning, whose first row is due so many seconds after it."""
    due.looked(BEGAN + round(at * SECOND), None if head is None else BEGAN + round(head * SECOND), at)


def _tend(due: Due, at: float, holders: frozenset[str] = NOBODY, found: dict[int, int] | None = None) -> None:
    if due.floor.listed(holders, at, 1.0):
        due.floor.probed(found or {})


def _floor(due: Due) -> float | None:
    """Seconds from the beginning."""
    return (due.start - BEGAN) / SECOND if due.start else None


def test_the_floor_follows_the_clock_at_a_distance() -> None:
    """With nothing scheduled the floor rises to the moment of a look, less the slack, two listings later."""
    due = Due()
    _look(due, 10, None)
    _tend(due, 10)
    assert due.start == 0
    _tend(due, 11)

    assert _floor(due) == 10 - SLACK_MICROS / SECOND


def test_the_floor_stays_before_the_first_row() -> None:
    """A row that is due and still there stays above the floor, and so do others due at its microsecond."""
    due = Due()
    _look(due, 10, 3)
    _tend(due, 10)
    _tend(due, 11)

    assert due.start == BEGAN + 3 * SECOND - 1


def test_an_idle_worker_s_floor_comes_to_rest() -> None:
    """Once the floor has passed the last moment at which something was consumed it asks for nothing more, until the
    first row of a look is gone again. Red when every look notes a candidate."""
    due = Due()
    for second in range(20):
        _look(due, second, 100)
        _tend(due, second)
    assert not due.open
    rest = due.start

    _look(due, 20, 90)
    assert not due.open
    for second in range(91, 100):
        _look(due, second, 100)
        _tend(due, second)

    assert due.start > rest
    assert (_floor(due) or 0) >= 91
    assert not due.open


def test_what_left_no_trace_in_the_looks_is_passed_all_the_same() -> None:
    """The floor rises after a promotion of this worker's own, and after a minute whatever the looks saw. Red when it
    rises only past a first row that a look has seen."""
    due = Due()
    for second in range(10):
        _look(due, second, None)
        _tend(due, second)
    rest = _floor(due) or 0
    due.promoted()
    for second in range(10, 20):
        _look(due, second, None)
        _tend(due, second)
    after_promotion = _floor(due) or 0
    for second in range(20, 90):
        _look(due, second, None)
        _tend(due, second)

    assert rest < 9
    assert 10 <= after_promotion < 19
    assert (_floor(due) or 0) >= 70
    assert not due.open


def test_a_straggler_is_where_looks_begin_until_one_has_passed_it() -> None:
    """A row that shows up when a guard has gone is in the next look's reach, until a look sees nothing there."""
    due = Due()
    _look(due, 10, None)
    _tend(due, 10, frozenset({"late"}))
    _tend(due, 11, frozenset({"late"}))
    floor = due.start
    _tend(due, 12, NOBODY, {0: BEGAN + 5 * SECOND})
    straggler = due.start
    _look(due, 13, 5)
    still = due.start
    _look(due, 14, None)

    assert straggler == BEGAN + 5 * SECOND - 1
    assert still == straggler
    assert due.start >= floor


def test_a_clock_that_is_put_back_starts_the_floor_anew() -> None:
    """When the server's clock falls behind ours by more than a step, what is scheduled since may lie below
    the floor."""
    due = Due()
    for second in range(10):
        _look(due, second, None)
        _tend(due, second)
    raised = due.start
    due.looked(BEGAN + round((9.5 - CLOCK_STEP_SECONDS - 1) * SECOND), None, 9.5)

    assert raised > 0
    assert due.start == 0
