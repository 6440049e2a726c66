"""Values to JSON and back: what survives exactly, and what is refused with its place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from perdure.core import codec, limits
from perdure.core.errors import InvalidArgument, PayloadTooLarge, PerdureError, Unserialisable

NAIVE = datetime(2026, 1, 1, 12)  # noqa: DTZ001  # the mistake itself


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Point(msgspec.Struct):
    x: float


class Line(BaseModel):
    price: float
    at: datetime | None = None


@dataclass
class Order:
    id: int
    paid: Decimal
    points: list[Point] = field(default_factory=list)


VALUES: list[tuple[Any, Any]] = [
    (int, 2**53 + 1),
    (int, 2**64),
    (int, -(10**400)),
    (float, 0.1 + 0.2),
    (float, 5e-324),
    (float, -0.0),
    (str, "Zażółć \U0001f600 \u2028 \x7f \\u0000"),
    (bytes, b"\0\xff"),
    (bool, True),
    (type(None), None),
    (datetime, datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
    (date, date(2026, 1, 1)),
    (time, time(12, 0, tzinfo=UTC)),
    (timedelta, timedelta(days=1, microseconds=1)),
    (UUID, UUID(int=1)),
    (Decimal, Decimal("12.50")),
    (Decimal, Decimal("1E+30")),
    (Colour, Colour.RED),
    (Size, Size.BIG),
    (Point, Point(1.5)),
    (Line, Line(price=1.5, at=datetime(2026, 1, 1, tzinfo=UTC))),
    (list[Line], [Line(price=1.5)]),
    (Order, Order(1, Decimal("9.90"), [Point(0.1)])),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (tuple[int, str], (1, "a")),
    (dict[str, list[Decimal]], {"a": [Decimal("0.1")]}),
    (dict[UUID, int], {UUID(int=2): 1}),
    (dict[int, str], {1: "a"}),
]


@pytest.mark.parametrize(("type_", "value"), VALUES)
def test_a_value_comes_back_equal(type_: Any, value: Any) -> None:
    """Whatever the codec accepts comes back as the same value of the same type, to the last digit and zone."""
    found = codec.decoder(type_).decode(codec.encode(value))

    assert found == value
    assert type(found) is type(value)
    if isinstance(value, (float, Decimal)):
        assert repr(found) == repr(value)
    if isinstance(value, datetime):
        assert found.utcoffset() == value.utcoffset()


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc\\u0{}", max_size=7), inner, max_size=4),
)


@given(plain)
def test_plain_data_comes_back_equal(value: Any) -> None:
    """Any nesting of JSON's own kinds is accepted and comes back equal, without its types being told."""
    assert msgspec.json.decode(codec.encode(value)) == value


@dataclass
class Basket:
    items: list[Any]


FLAWS: list[tuple[object, str, type[PerdureError], str]] = [
    (math.nan, "", InvalidArgument, "nan"),
    ({"a": [1, {"b": math.inf}]}, "a[1].b", InvalidArgument, "inf"),
    ({"a": None, "b": (1.0, -math.inf)}, "b[1]", InvalidArgument, "-inf"),
    ({"a": Basket([1, Point(math.nan)])}, "a.items[1].x", InvalidArgument, "nan"),
    ({"a": [Line(price=math.nan)]}, "a[0].price", InvalidArgument, "nan"),
    ({"a": Line(price=1, at=NAIVE)}, "a.at", InvalidArgument, "no time zone"),
    ({"a": {3: [NAIVE]}}, "a[3][0]", InvalidArgument, "no time zone"),
    ({"a": time(12)}, "a", InvalidArgument, "no time zone"),
    ({"a": Decimal("NaN")}, "a", InvalidArgument, "NaN"),
    ({"a": Decimal("-Infinity")}, "a", InvalidArgument, "-Infinity"),
    ({"a": ["x\0y"]}, "a[0]", InvalidArgument, "NUL"),
    ({"a": {"x\0y": 1}}, "a", InvalidArgument, "NUL"),
    ({"a": ["\ud800"]}, "a[0]", InvalidArgument, "surrogate"),
    ({"a": [1, {"b": object()}]}, "a[1].b", Unserialisable, "object"),
    ({"a": Basket([lambda: 1])}, "a.items[0]", Unserialisable, "function"),
    ({"a": {(1, 2): 1}}, "a", Unserialisable, "dict"),
    ({"a": 1j}, "a", Unserialisable, "complex"),
    ({"a": 10**5000}, "a", Unserialisable, "4300 digits"),
]


@pytest.mark.parametrize(("value", "place", "kind", "says"), FLAWS)
def test_what_json_would_change_is_refused_with_its_place(
    value: object, place: str, kind: type[PerdureError], says: str
) -> None:
    """NaN, infinities, naive times, NULs, lone surrogates and objects are refused, naming where in the value they
    stand and what to do (guard: the walk behind ``null`` and the NUL's escape; without it a NaN becomes a null)."""
    with pytest.raises(kind) as caught:
        codec.encode(value)

    assert caught.value.field == (place or None)
    assert says in caught.value.message
    assert caught.value.fix


def test_a_hidden_nan_is_found_without_a_walk() -> None:
    """A NaN is refused even when the caller promised that nothing needs looking for."""
    with pytest.raises(InvalidArgument):
        codec.encode({"a": [1.0, math.nan]}, walk=False)


def test_a_value_within_itself_is_refused() -> None:
    """A list that contains itself is refused, not followed for ever."""
    value: list[object] = [1]
    value.append(value)

    with pytest.raises(Unserialisable, match="contains itself"):
        codec.encode({"a": value})


def test_a_value_has_a_size() -> None:
    """The bound is counted in encoded bytes, is met exactly, and names the largest argument."""
    room = limits.PAYLOAD_BYTES_MAX - len('{"a":"","b":1}')
    assert len(codec.encode({"a": "x" * room, "b": 1})) == limits.PAYLOAD_BYTES_MAX

    with pytest.raises(PayloadTooLarge) as caught:
        codec.encode({"b": 1, "a": "x" * (room + 1)})
    assert caught.value.field == "a"
    with pytest.raises(PayloadTooLarge, match="result: the encoded value has 12 bytes, the limit is 10"):
        codec.encode("é" * 5, field="result", bytes_max=10)


def test_the_largest_batch_fits_one_value_of_postgres() -> None:
    """A claim of as many jobs as one may take, each of the largest size, stays below the 1 GiB that bounds a value."""
    batch = limits.CLAIM_BATCH_MAX * (limits.PAYLOAD_BYTES_MAX + 1) + 1

    assert batch < 0x3FFFFFFF


def test_foreign_json_is_kept_as_it_was_written() -> None:
    """JSON from outside keeps its spelling: no number is rounded, no key moved."""
    text = '{"b": 1.10, "a": 123456789012345678901234567890}'

    assert codec.accept(f" {text}\n".encode()) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1', "not valid JSON"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a": 1e400}', "not valid JSON"),
        ('{"a": "\\ud800"}', "not valid JSON"),
        ("", "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        ("\ud800", "not valid JSON"),
        ('{"a": ["\\u0000"]}', "a[0]: contains a NUL"),
    ],
)
def test_foreign_json_is_held_to_the_same_rules(text: str | bytes, says: str) -> None:
    """Text that isn't JSON, or that Postgres couldn't read back, is refused."""
    with pytest.raises(InvalidArgument) as caught:
        codec.accept(text)

    assert says in str(caught.value)


def test_foreign_json_has_a_size() -> None:
    """The bound holds for the text as written, blanks included."""
    with pytest.raises(PayloadTooLarge):
        codec.accept("1" + " " * 10, bytes_max=10)


def _nested(levels: int) -> dict[str, Any]:
    """An argument ``a`` that makes a whole of so many levels, with brackets in its texts, beside a wide one."""
    value: Any = ['"[[', "]\\"]
    for level in range(levels - 2):
        value = [value, "]"] if level % 2 else {'[\\"': value}
    return {"wide": [[]] * 300, "a": value}


def test_depth_has_a_bound() -> None:
    """What is nested to the bound is accepted, one level more is refused with the argument's name, by whichever way it
    comes; how wide it is doesn't count. Red without ``_is_deep``."""
    deepest, deeper = _nested(limits.PAYLOAD_DEPTH_MAX), _nested(limits.PAYLOAD_DEPTH_MAX + 1)
    foreign = msgspec.json.encode(deepest).decode()

    assert msgspec.json.decode(codec.encode(deepest)) == deepest
    assert codec.accept(foreign) == foreign
    with pytest.raises(Unserialisable, match="a: is nested more than 200 levels deep"):
        codec.encode(deeper)
    with pytest.raises(InvalidArgument, match="a: is nested more than 200 levels deep"):
        codec.accept(msgspec.json.encode(deeper))


def test_depth_is_no_crash() -> None:
    """JSON nested a hundred thousand deep is refused like any other malformed text."""
    with pytest.raises(InvalidArgument):
        codec.accept("[" * 100_000)
