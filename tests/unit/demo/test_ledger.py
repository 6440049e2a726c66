"""The ledgers of the demonstrations: they add up, or say what doesn't."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from perdure.cli.demo import exit_code
from perdure.demo import feed, story
from perdure.demo.feed import same
from perdure.demo.ledger import Counts, Fed, Witness, audit, audit_fed

COUNTS = Counts(
    orders=308, jobs=308, unfinished=0, completions=308, completed=308, unpaid=0, receipts=308, served=308, runs=324,
    attempts=308, rescues=19,
)  # fmt: skip
SEEN = Witness(
    promised=308, rolled_back=0, lost=11, recovered=11, frozen=8, replaced=8, refused=8, overwritten=0, unclean=0
)
FED = Fed(
    lines=331, refused=2, jobs=329, finished=329, completed=329, different=0, unfinished=0, attempts=329, rescues=18,
    lost=18, recovered=18, unclean=0,
)  # fmt: skip


def test_books_that_add_up_have_no_problems() -> None:
    """What a good run counts is no problem; refused lines of a file aren't one either."""
    assert audit(COUNTS, SEEN) == []
    assert audit_fed(FED) == []


@pytest.mark.parametrize("name", [each.name for each in fields(Counts) if each.name != "rescues"])
def test_every_wrong_count_is_a_problem(name: str) -> None:
    """One less of anything doesn't add up, and one more neither, except that handlers may run more often. Red when a
    count isn't checked any more [DW-10].
    """
    for step in (-1, 1):
        tampered = replace(COUNTS, **{name: getattr(COUNTS, name) + step})
        assert audit(tampered, SEEN) or (name, step) in (("runs", 1), ("runs", -1))
    assert audit(replace(COUNTS, runs=COUNTS.jobs - 1), SEEN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("promised", 309), ("rolled_back", 1), ("lost", 0), ("recovered", 10), ("frozen", 0), ("replaced", 7),
        ("refused", 0), ("overwritten", 1), ("unclean", 1),
    ],
)  # fmt: skip
def test_everything_that_went_wrong_on_the_way_is_a_problem(name: str, value: int) -> None:
    """A lost job, a late settlement that wrote, a worker that held nothing when it was killed: each is told."""
    assert audit(COUNTS, replace(SEEN, **{name: value}))


@pytest.mark.parametrize("name", [each.name for each in fields(Fed) if each.name not in ("rescues", "refused")])
def test_every_wrong_count_of_a_file_is_a_problem(name: str) -> None:
    """One line, job, end, value or attempt more than it should be doesn't add up."""
    assert audit_fed(replace(FED, **{name: getattr(FED, name) + 1}))


def test_the_exit_code_follows_the_ledger() -> None:
    """0 when it adds up, 1 when it doesn't, 2 when only lines of the file were refused."""
    good, bad = story.Report("18"), story.Report("18", problems=["1 jobs completed twice"])
    refused = feed.Report("18", refusals=["line 1: not valid JSON"])

    assert [exit_code(each) for each in (good, bad, refused)] == [0, 1, 2]
    assert exit_code(replace(refused, problems=["1 values came back changed"])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": [1, 2]}', '{"b": [1, 2], "a": 1}'),
        ("1.0", "1"),
        ("1e2", "100.0"),
        ('"\\u00e9"', '"é"'),
        ("[" * 900 + "]" * 900, "[" * 900 + "]" * 900),
    ],
)
def test_equal_values_are_the_same(one: str, other: str) -> None:
    """The order of keys, the way a number is written and escapes make no difference."""
    assert same(json.loads(one), json.loads(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "true"),
        ("0", "false"),
        ("null", "0"),
        ("[1, 2]", "[2, 1]"),
        ("[1]", "[1, 1]"),
        ('{"a": 1}', '{"a": 1, "b": 1}'),
        ('{"a": null}', "{}"),
        ("123456789012345678901234567890", "123456789012345678901234567891"),
        ("0.1", "0.10000000000000002"),
        ('{"a": [{"b": "x"}]}', '{"a": [{"b": "y"}]}'),
        ("{}", "[]"),
    ],
)
def test_different_values_are_not(one: str, other: str) -> None:
    """True isn't 1, an absent key isn't null, order in a list matters, and no digit is let pass."""
    assert not same(json.loads(one), json.loads(other))
