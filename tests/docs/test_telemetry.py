"""The page of the metrics is the catalogue's."""

from __future__ import annotations

import re

from perdure.core.telemetry import METRICS
from tools import write_telemetry


def test_the_page_of_metrics_is_the_catalogue() -> None:
    """docs/reference/telemetry.md is what tools/write_telemetry.py writes; run it after changing the catalogue
    [DW-171]."""
    assert write_telemetry.PAGE.read_text() == write_telemetry.render()


def test_names_are_as_the_convention_has_them() -> None:
    """A metric's name is of plain words, its own, and says its unit; only what rises for ever ends in total."""
    names = [metric.name for metric in METRICS]

    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"perdure(_[a-z]+)+", name)] == []
    assert {metric.kind for metric in METRICS if metric.name.endswith("_total")} == {"counter"}
    assert [metric.name for metric in METRICS if metric.kind == "counter" and not metric.name.endswith("_total")] == []
