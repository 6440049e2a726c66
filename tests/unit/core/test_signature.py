"""Signatures: what a function's parameters accept, and what their refusals say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel, Field

from perdure.core.errors import (
    InvalidArgument,
    InvalidTask,
    MissingArgument,
    PayloadTooLarge,
    PerdureError,
    UnknownArgument,
    Unserialisable,
)
from perdure.core.signature import Signature

NAIVE = datetime(2026, 1, 1, 12)  # noqa: DTZ001  # the mistake itself
AWARE = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Item:
    sku: str
    price: Decimal
    at: datetime | None = None
    parts: list[Item] | None = None


class Card(BaseModel):
    number: int = Field(gt=0)


class Context: ...


def receipt(order_id: int, note: str = "", *, items: list[Item] = [], at: datetime | None = None) -> None:  # noqa: B006
    """Send a receipt."""


def loose(event: str, payload: Any, extra=None) -> None:  # type: ignore[no-untyped-def]
    """Take anything."""


def charge(card: Card, by: Literal["app", "web"] = "app", weight: float = 1.0) -> None:
    """Charge a card."""


RECEIPT, LOOSE, CHARGE = (Signature(each, task=each.__name__) for each in (receipt, loose, charge))
ITEM = Item("a", Decimal("1.50"), AWARE, [Item("b", Decimal(2))])


def test_arguments_travel_by_name() -> None:
    """By position or by name, arguments become one JSON object of what was given; defaults stay behind."""
    assert RECEIPT.bind(9182) == RECEIPT.bind(order_id=9182) == '{"order_id":9182}'
    assert RECEIPT.bind(9182, "hi", at=None) == '{"order_id":9182,"note":"hi","at":null}'


def test_decoding_gives_the_handler_what_was_given() -> None:
    """What is bound comes back as keyword arguments of the annotated types, with today's defaults."""
    assert RECEIPT.decode(RECEIPT.bind(1, items=[ITEM], at=AWARE)) == {
        "order_id": 1,
        "note": "",
        "items": [ITEM],
        "at": AWARE,
    }
    assert RECEIPT.decode(msgspec.Raw(b'{"order_id":1}'))["items"] == []
    assert CHARGE.decode(CHARGE.bind(Card(number=4))) == {"card": Card(number=4), "by": "app", "weight": 1.0}
    assert CHARGE.decode(CHARGE.bind({"number": 4}, weight=2))["weight"] == 2.0
    assert LOOSE.decode(LOOSE.bind("push", {"a": (1, 2)})) == {"event": "push", "payload": {"a": [1, 2]}, "extra": None}


class Cyclic:
    """An object that isn't data."""


REFUSED: list[tuple[Signature, tuple[Any, ...], dict[str, Any], type[PerdureError], str, str]] = [
    (RECEIPT, ("9182",), {}, InvalidArgument, "order_id", "expected int, got str"),
    (RECEIPT, (None,), {}, InvalidArgument, "order_id", "expected int, got None"),
    (RECEIPT, (True,), {}, InvalidArgument, "order_id", "expected int, got bool"),
    (RECEIPT, (1.0,), {}, InvalidArgument, "order_id", "expected int, got float"),
    (RECEIPT, (), {}, MissingArgument, "order_id", "is missing"),
    (RECEIPT, (1,), {"nope": 2}, UnknownArgument, "nope", "is not an argument"),
    (RECEIPT, (1, "", []), {}, UnknownArgument, "receipt", "3 positional"),
    (RECEIPT, (1,), {"order_id": 2}, UnknownArgument, "order_id", "twice"),
    (RECEIPT, (1,), {"items": [ITEM, {"sku": "b"}]}, InvalidArgument, "items[1]", "missing required field price"),
    (RECEIPT, (1,), {"items": [{"sku": 3, "price": "1"}]}, InvalidArgument, "items[0].sku", "expected str, got int"),
    (RECEIPT, (1,), {"items": [Item("a", Decimal(1), NAIVE)]}, InvalidArgument, "items[0].at", "no time zone"),
    (RECEIPT, (1,), {"items": [Item("a", Decimal("NaN"))]}, InvalidArgument, "items[0].price", "is NaN"),
    (RECEIPT, (1,), {"at": NAIVE}, InvalidArgument, "at", "no time zone"),
    (RECEIPT, (1,), {"at": "2026-01-01T12:00:00"}, InvalidArgument, "at", "no time zone"),
    (RECEIPT, (1, "a\0"), {}, InvalidArgument, "note", "NUL"),
    (RECEIPT, (1, "x" * 2**20), {}, PayloadTooLarge, "note", "limit"),
    (RECEIPT, (1, Cyclic()), {}, Unserialisable, "note", "Cyclic"),
    (CHARGE, (Card(number=4), "fax"), {}, InvalidArgument, "by", "fax"),
    (CHARGE, ({"number": 0},), {}, InvalidArgument, "card", "number: Input should be greater than 0"),
    (CHARGE, (Card(number=4),), {"weight": float("nan")}, InvalidArgument, "weight", "is nan"),
    (LOOSE, ("push", {"a": [NAIVE]}), {}, InvalidArgument, "payload.a[0]", "no time zone"),
    (LOOSE, ("push", {"a": None, "b": float("inf")}), {}, InvalidArgument, "payload.b", "is inf"),
]


@pytest.mark.parametrize(("signature", "args", "kwargs", "kind", "place", "says"), REFUSED)
def test_a_wrong_argument_is_refused_before_anything_is_written(
    signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[PerdureError], place: str, says: str
) -> None:
    """Each wrong argument gives one error of a defined class that names the argument's place, its problem and the fix
    (guard: the decode in ``bind``)."""
    with pytest.raises(kind) as caught:
        signature.bind(*args, **kwargs)

    assert type(caught.value) is kind
    assert caught.value.field == place
    assert says in caught.value.message
    assert caught.value.fix


def test_a_refusal_shows_what_the_task_takes() -> None:
    """The fix of a wrong argument is the task's own signature."""
    with pytest.raises(MissingArgument) as caught:
        CHARGE.bind()

    assert caught.value.fix == "charge takes (card: Card, by: Literal['app', 'web'] = …, weight: float = …)"


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ('{"order_id": "1"}', InvalidArgument, "order_id"),
        ("{}", MissingArgument, "order_id"),
        ('{"order_id": 1, "x": 1}', UnknownArgument, "x"),
        ("[1]", InvalidArgument, "receipt"),
        ('{"order_id": 1, "at": "2026-01-01T12:00:00"}', InvalidArgument, "at"),
        ('{"order_id": 1', InvalidArgument, None),
    ],
)
def test_arguments_from_outside_meet_the_same_checks(text: str, kind: type[PerdureError], place: str | None) -> None:
    """A line of a file is held to the signature as a call is, and kept as written when it fits."""
    assert RECEIPT.accept(b' {"order_id": 1}\n') == '{"order_id": 1}'
    with pytest.raises(kind) as caught:
        RECEIPT.accept(text)

    assert caught.value.field == place


def test_a_job_of_another_signature_is_refused_by_the_worker() -> None:
    """Arguments that were enqueued for other parameters don't reach the handler."""
    with pytest.raises(UnknownArgument, match="old_name"):
        RECEIPT.decode('{"order_id":1,"old_name":2}')
    with pytest.raises(MissingArgument, match="order_id"):
        RECEIPT.decode("{}")


def test_the_context_is_no_argument() -> None:
    """A parameter that the worker fills in is left out of the arguments, even one of a type unknown at run time."""

    def handler(a: int, ctx: Unimportable, b: int = 2) -> None: ...  # type: ignore[name-defined] # noqa: F821

    signature = Signature(handler, task="handler", injected=lambda annotation: annotation == "Unimportable")

    assert (signature.names, signature.context, signature.bind(1, 3)) == (("a", "b"), "ctx", '{"a":1,"b":3}')
    with pytest.raises(UnknownArgument, match="ctx"):
        signature.bind(1, ctx=None)


def _stars(*orders: int) -> None: ...
def _names(**orders: int) -> None: ...
def _slash(order: int, /) -> None: ...
def _unknown(order: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821
def _function(order: list[Callable[[], int]]) -> None: ...
def _object(order: dict[str, Cyclic]) -> None: ...
def _ambiguous(order: Item | Card) -> None: ...
def _both(order: str | UUID) -> None: ...


@pytest.mark.parametrize(
    ("function", "parameter"),
    [(_stars, "*orders"), (_names, "**orders")]
    + [(each, "order") for each in (_slash, _unknown, _function, _object, _ambiguous, _both)],
)
def test_a_function_whose_arguments_cannot_travel_is_refused_when_declared(
    function: Callable[..., None], parameter: str
) -> None:
    """Parameters without a name, without a known type or without one JSON form are refused at declaration."""
    with pytest.raises(InvalidTask) as caught:
        Signature(function, task="t")

    assert caught.value.field == f"t.{parameter}"
    assert caught.value.fix


def test_a_function_without_parameters_takes_nothing() -> None:
    """The smallest task has the smallest payload."""
    signature = Signature(lambda: None, task="tick")

    assert signature.bind() == "{}"
    assert signature.decode("{}") == {}
