"""The tree of errors: codes that stay, words that help, and the way between processes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from perdure.core import errors


def _tree(root: type[errors.PerdureError]) -> Iterator[type[errors.PerdureError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


CLASSES = [each for each in _tree(errors.PerdureError) if each.__module__ == errors.__name__]


def test_an_error_reads_field_problem_fix() -> None:
    """The text of an error is the field, its problem and the fix, as far as they are known."""
    assert str(errors.InvalidOption("is 12", field="priority", fix="give 0 to 9")) == "priority: is 12; give 0 to 9"
    assert str(errors.InvalidOption("is 12")) == "is 12"


def test_codes_are_one_to_a_class() -> None:
    """No two classes share a code, so a program may branch on it."""
    assert len({each.code for each in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_the_way_between_processes(kind: type[errors.PerdureError]) -> None:
    """A pickled error comes back with everything it said (guard: one positional argument in each ``__init__``)."""
    error = kind("is wrong", field="f", fix="mend it")
    error.__dict__["more"] = 1
    found = pickle.loads(pickle.dumps(error))

    assert type(found) is kind
    assert found.__dict__ == error.__dict__
    assert str(found) == "f: is wrong; mend it"


def test_an_error_is_a_problem_document() -> None:
    """``problem`` holds the members of RFC 9457 with the field, the fix and the code beside them."""
    assert errors.UnknownTask("is not declared", field="task", fix="declare it").problem == {
        "type": "urn:perdure:error:unknown_task",
        "title": "Unknown task",
        "detail": "is not declared",
        "field": "task",
        "fix": "declare it",
        "code": "unknown_task",
    }


def test_bad_input_and_bad_set_up_end_the_command_line_with_2() -> None:
    """What the caller must mend ends with 2, what happened to a job or a server with 1."""
    assert {errors.InvalidArgument.exit_code, errors.LoginRefused.exit_code} == {2}
    assert {errors.JobFailed.exit_code, errors.ServerUnavailable.exit_code} == {1}


@pytest.mark.parametrize(
    ("kind", "transient"),
    [(errors.LockTimeout, True), (errors.ConnectionLost, True), (errors.StatementRefused, False)],
)
def test_a_database_error_says_whether_repeating_may_help(kind: type[errors.DatabaseError], transient: bool) -> None:
    """``transient`` is told by the class, and the SQLSTATE is kept."""
    assert kind.transient is transient
    assert kind("no", sqlstate="55P03").sqlstate == "55P03"
