"""The glossary's map from our words to the names of the literature."""

from __future__ import annotations

import re

from tests.tidy.source import ROOT

ESTABLISHED = (
    "Message Channel",
    "Competing Consumers",
    "partitioned consumption",
    "exclusive ownership",
    "Idempotent Receiver",
    "Dead Letter Channel",
    "Transactional Outbox",
)


def test_the_glossary_maps_our_words_to_the_established_names() -> None:
    """Each of the seven established pattern names stands in the glossary beside our word for it [DW-33]."""
    page = (ROOT / "docs" / "glossary.md").read_text()
    mapped = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE))

    assert {name for name in ESTABLISHED if name not in mapped.values()} == set()
