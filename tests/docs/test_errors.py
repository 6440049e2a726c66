"""The errors that users are told of, in the guides and by the verbs of a client."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import perdure
import perdure.core.errors
from tests.tidy.source import ROOT

URL = "postgresql://localhost/none"


def _classes(error: type[perdure.PerdureError]) -> Iterator[type[perdure.PerdureError]]:
    for each in error.__subclasses__():
        yield each
        yield from _classes(each)


def _told() -> str:
    """All that guides say, and verbs say of themselves."""
    told = [page.read_text() for page in sorted((ROOT / "docs" / "guides").glob("*.md"))]
    for client in (perdure.Client(URL), perdure.AsyncClient(URL)):
        for noun in (client, *vars(client).values()):
            if type(noun).__module__.startswith("perdure."):
                told += [inspect.getdoc(member) or "" for _, member in inspect.getmembers(type(noun), callable)]
    return "\n".join(told)


def test_errors_that_are_told_of_are_where_one_imports_from() -> None:
    """Each error that a guide or a verb's docstring names is given by ``import perdure``, and in ``__all__``: whoever
    writes an endpoint catches it without knowing our folders. Red when one of them isn't exported."""
    named = set(re.findall(r"\b[A-Z][A-Za-z]+\b", _told()))
    errors = {each.__name__ for each in _classes(perdure.PerdureError)}
    assert "WorkflowNotFound" in named & errors
    assert named & errors - set(perdure.__all__) == set()


def test_each_error_in_the_table_of_statuses_is_one() -> None:
    """The table that maps errors to statuses of HTTP names exported errors alone, each once, a more special one before
    what it is a kind of: read from above, as ``except`` clauses are. Red when a row names what isn't exported."""
    page = (ROOT / "docs" / "guides" / "enqueue.md").read_text().partition("## What an endpoint answers")[2]
    rows = re.findall(r"^\| (`[^|]+) \| (\d{3})", page, re.MULTILINE)
    named = [name for row, _ in rows for name in re.findall(r"`(\w+)`", row)]
    found = [getattr(perdure, name) for name in named]
    assert len(rows) >= 6
    for place, error in enumerate(found):
        assert issubclass(error, perdure.PerdureError)
        assert not any(issubclass(error, before) for before in found[:place])
