"""What the tests say they prove: known ids, few enough to be believed, and a page that says the same."""

from __future__ import annotations

from tests.tidy import source
from tools import write_guarantees

CITED_AT_MOST = 3


def test_every_cited_requirement_exists() -> None:
    """An id in a test's docstring stands in the catalogue."""
    known = write_guarantees.requirements()
    found = [(proof.path, proof.name, name) for proof in write_guarantees.proofs() for name in proof.ids]

    assert [citation for citation in found if citation[2] not in known] == []


def test_no_test_proves_everything() -> None:
    """A test cites three ids at most: what proves more proves it badly."""
    found = {f"{proof.path} {proof.name}": proof.ids for proof in write_guarantees.proofs()}

    assert {test: ids for test, ids in found.items() if len(ids) > CITED_AT_MOST} == {}


def test_the_guarantees_page_is_up_to_date() -> None:
    """docs/guarantees.md is what ``make guarantees`` writes; run it after changing what a test cites."""
    page = write_guarantees.render(write_guarantees.requirements(), list(write_guarantees.proofs()))

    assert (source.ROOT / "docs" / "guarantees.md").read_text() == page
