"""Figures as values: ratios, targets, percentiles, and how a figure is written."""

from __future__ import annotations

import pytest

from perdure.bench.figures import Figure, PlainRates, Report, Target, figure, middle, percentile
from perdure.bench.latency import changes
from perdure.bench.ops import Server
from perdure.cli.bench import about, cells, goal, number


def _figure(value: float, floor: float = 100.0, target: Target | None = None, otherwise: bool = False) -> Figure:
    return figure(
        "drain", value, "jobs/s", floor=floor, floor_is="plain", target=target, met_otherwise=otherwise, samples=[value]
    )


def test_a_figure_carries_its_ratio_to_the_floor() -> None:
    """The ratio is value / floor, and there is none to a floor of nought."""
    assert _figure(35.0).ratio == 0.35
    assert _figure(35.0, floor=0.0).ratio is None


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (None, None),
        (Target("at least", 0.35, "floor"), True),
        (Target("at least", 0.36, "floor"), False),
        (Target("at most", 0.35, "floor"), True),
        (Target("at most", 0.34, "floor"), False),
        (Target("at least", 35.0), True),
        (Target("at least", 36.0), False),
        (Target("at most", 35.0), True),
        (Target("at most", 34.0), False),
    ],
)
def test_a_target_bounds_the_ratio_or_the_value(target: Target | None, met: bool | None) -> None:
    """Reaching the bound exactly is reaching it; without a target nothing is judged."""
    assert _figure(35.0, target=target).met is met


def test_a_ratio_to_no_floor_reaches_no_target() -> None:
    """What can't be compared isn't called reached."""
    assert _figure(35.0, floor=0.0, target=Target("at most", 1.0, "floor")).met is False


def test_a_target_may_be_reached_otherwise() -> None:
    """Two processes needn't be faster than one where both cores are busy."""
    target = Target("at least", 50.0, unless="the cores are busy")

    assert [_figure(35.0, target=target, otherwise=busy).met for busy in (True, False)] == [True, False]


def test_percentiles_are_samples() -> None:
    """A percentile is the nearest rank: p50 of four is the second, p99 of a hundred the 99th, p100 the worst."""
    hundred = [float(each) for each in range(100, 0, -1)]

    assert percentile([4.0, 1.0, 3.0, 2.0], 50) == 2.0
    assert [percentile(hundred, percent) for percent in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 1) == 7.0
    assert middle([4.0, 1.0, 3.0, 2.0]) == 2.5


def test_a_session_whose_last_statement_is_another_has_been_asked() -> None:
    """A new moment counts, and so does a new session; the same moment, and a session that is gone, don't."""
    assert changes({1: 10.0, 2: 10.0, 3: 10.0}, {1: 10.0, 2: 11.0, 4: 9.0}) == 2


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"), (0.00104, "0.00104"), (0.4171, "0.417"), (3.519, "3.52"), (47.93, "47.9"), (101_088.4, "101,088"),
        (-1.5, "-1.50"),
    ],
)  # fmt: skip
def test_a_number_has_three_digits_that_count(value: float, written: str) -> None:
    """Small ones keep their digits behind the point, large ones lose them."""
    assert number(value) == written


def test_a_target_is_written_in_words() -> None:
    """With the unit of its figure, or as a share of the floor, and with what it may be reached by otherwise."""
    assert goal(Target("at most", 15.0), "ms") == "at most 15 ms"
    assert goal(Target("at least", 0.35, "floor"), "jobs/s") == "at least 0.35 of the floor"
    assert goal(Target("at least", 1.15, unless="it rains"), "times") == "at least 1.15 times, unless it rains"


def test_a_figure_is_a_row() -> None:
    """Name, value, unit, floor, ratio, target, verdict, and what the floor is; nothing where there is none."""
    judged = _figure(35.0, target=Target("at least", 0.5, "floor"))

    assert cells(judged) == (
        "drain", "35.0", "jobs/s", "100", "0.35", "at least 0.5 of the floor", "missed", "plain",
    )  # fmt: skip
    assert cells(_figure(1.0, floor=0.0))[4:7] == ("", "", "")


def test_a_report_says_what_was_measured() -> None:
    """The server, what its commits promise, the machine, and the floor in rows a second."""
    report = Report(
        benchmark="drain", jobs=40_000, rounds=3, server=Server("18.6", "on", "on"), cores=2, python="3.11.7",
        floor=PlainRates(300_000.0, 700_000.0, 210_000.0, 1_000, 101), figures=[], seconds=12.0,
    )  # fmt: skip

    assert about(report).splitlines() == [
        "40,000 jobs, 3 rounds · PostgreSQL 18.6, fsync on, synchronous_commit on · 2 cores · Python 3.11.7",
        "floor, 101 bytes a row in statements of 1,000: INSERT 300,000/s, DELETE 700,000/s, both 210,000/s",
    ]
