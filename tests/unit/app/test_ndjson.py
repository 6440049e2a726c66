"""The lines of an NDJSON file: which bytes are one, and what becomes of those of which nothing can be made."""

from __future__ import annotations

from io import BytesIO

import pytest

from perdure.app import ndjson
from perdure.core import codec
from perdure.core.errors import InvalidArgument


def test_lines_know_where_they_stand() -> None:
    """Empty lines count and are left out; a byte order mark and line ends belong to no value; the offset finds the
    line again.
    """
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n \r\n[2]\n3'
    lines = list(ndjson.read(BytesIO(content), codec.accept))

    assert [(line.number, line.value, line.refusal) for line in lines] == [
        (1, '{"a": 1}', None), (4, "[2]", None), (5, "3", None),
    ]  # fmt: skip
    assert [content[line.offset : line.end] for line in lines] == [b'\xef\xbb\xbf{"a": 1}\r\n', b"[2]\n", b"3"]


def test_a_byte_order_mark_alone_is_an_empty_line() -> None:
    """A file that only says its encoding has no lines; the mark is one in the first line alone."""
    assert list(ndjson.read(BytesIO(b"\xef\xbb\xbf\n"), codec.accept)) == []

    (line,) = ndjson.read(BytesIO(b"\n\xef\xbb\xbf1\n"), codec.accept)
    assert line.refusal is not None


@pytest.mark.parametrize(("name", "place"), [("", "line 1,234"), ("orders.ndjson", "orders.ndjson line 1,234")])
def test_a_refusal_names_line_field_problem_and_fix(name: str, place: str) -> None:
    """What the maker refuses is refused by the line's number, with the maker's own field and fix; the rest is made."""

    def make(raw: bytes) -> int:
        if raw == b"-\n":
            raise InvalidArgument("isn't positive", field="order_id", fix="give 1 or more")
        return int(raw)

    content = BytesIO(b"1\n" * 1_233 + b"-\n" + b"2")
    *_, bad, good = ndjson.read(content, make, name=name)

    assert bad.value is None
    assert str(bad.refusal) == f"{place}: order_id: isn't positive; give 1 or more"
    assert (good.number, good.value, good.refusal) == (1_235, 2, None)


@pytest.mark.parametrize("filling", [b"x", b" "], ids=["text", "blanks"])
def test_a_line_that_is_too_long_is_refused_unread(filling: bytes) -> None:
    """A longer line than is kept never reaches the maker, even if what is kept of it is blank, and the next line is the
    next line. Red when the rest of it is taken for a line, or when a blank beginning lets it fall silently.
    """
    long = filling * (3 * ndjson.LINE_BYTES_MAX) + b"1"
    content = long + b"\n2\n" + long
    first, second, third = ndjson.read(BytesIO(content), codec.accept)

    assert "line 1: the line has more than" in str(first.refusal)
    assert (second.number, second.value, content[second.offset : second.end]) == (2, "2", b"2\n")
    assert "line 3: the line has more than" in str(third.refusal)
    assert third.end == len(content)


@pytest.mark.parametrize("end", [b"\n", b""], ids=["with its end", "without"])
def test_a_line_of_the_greatest_length_is_read(end: bytes) -> None:
    """Exactly as many bytes as are kept reach the maker, and one more is refused."""
    longest = b"1".rjust(ndjson.LINE_BYTES_MAX) + end
    lengths = [len(line.value or b"") for line in ndjson.read(BytesIO(longest), bytes)]
    assert lengths == [len(longest)]

    (longer,) = ndjson.read(BytesIO(b" " + longest), bytes)
    assert longer.refusal is not None
