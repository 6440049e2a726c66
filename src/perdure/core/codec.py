"""Python value to JSON text and back, exactly or not at all.

msgspec does the work; this file refuses what JSON or Postgres would silently change or choke on, and names the place
in the value (``items[3].price``):

- NaN and infinities, which msgspec writes as ``null``; a NaN Decimal likewise.
- Datetimes and times without a zone, which mean another moment on another machine.
- NUL characters, which Postgres' ``json`` stores but can't read back as text, and lone surrogates, which aren't UTF-8.
- Values with no JSON form, values that contain themselves, and values nested deeper than any reader is sure to follow.

What survives: integers of any size, floats to the last bit, Decimals (as text), bytes (base64), UUIDs, dates, enums,
sets and tuples, dataclasses, attrs classes, msgspec Structs and pydantic 2 models. A place annotated ``Any``, or not at
all, gets plain JSON back: lists for tuples, text for datetimes.

The text itself tells whether a closer look is needed. A NaN can only hide behind a ``null``, a NUL behind its escape,
so the common value is encoded and searched, in C, and never walked in Python.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

import msgspec

from . import limits
from .errors import InvalidArgument, PayloadTooLarge, PerdureError, Unserialisable

T = TypeVar("T")

_NUL = "\\u0000"
_DEEP_BYTES_MIN = 2 * limits.PAYLOAD_DEPTH_MAX
"""No shorter text can be nested too deeply: each level has two brackets."""
_SQUARED = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ATOMS = frozenset({int, bool, type(None), bytes})


def encode(value: object, *, field: str = "", bytes_max: int = limits.PAYLOAD_BYTES_MAX, walk: bool = True) -> str:
    """The value as JSON text of at most ``bytes_max`` bytes.

    ``field`` names the value in errors; empty for a dict of arguments, whose own keys name the places. ``walk=False``
    promises that the value holds no datetime, time, Decimal or unknown object, and saves looking for them.
    Raises InvalidArgument, Unserialisable or PayloadTooLarge.
    """
    try:
        encoded = _ENCODER.encode(value)
        text = encoded.decode()
        if walk or "null" in text or _NUL in text:
            _walk(value)
    except _Flaw as flaw:
        raise flaw.error(field) from None
    except RecursionError:
        raise Unserialisable(
            "is nested too deeply, or contains itself", field=field or None, fix="give plain, finite data"
        ) from None
    except Exception as error:
        raise _diagnose(value, error).error(field) from error
    if len(encoded) > bytes_max:
        raise _oversize(value, len(encoded), field, bytes_max)
    if len(encoded) > _DEEP_BYTES_MIN and _is_deep(encoded):
        raise _too_deep(value, field, Unserialisable)
    return text


def encode_result(value: object) -> str:
    """What a handler or a workflow has returned, as JSON text. Raises what ``encode`` raises."""
    return encode(value, field="result", bytes_max=limits.RESULT_BYTES_MAX)


def accept(text: str | bytes, *, bytes_max: int = limits.PAYLOAD_BYTES_MAX) -> str:
    """JSON text from outside, as it was written, so that no number loses a digit.

    Raises InvalidArgument when it isn't JSON or holds what ``encode`` refuses, PayloadTooLarge when it is too long.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        size = len(text.encode())
        value = _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidArgument(f"not valid JSON: {error}", fix="give one JSON value in UTF-8") from None
    if size > bytes_max:
        raise _oversize(value, size, "", bytes_max)
    if size > _DEEP_BYTES_MIN and _is_deep(text.encode()):
        raise _too_deep(value, "", InvalidArgument)
    if _NUL in text:
        inspect(value)
    return text.strip()


def inspect(value: object) -> None:
    """Refuse what ``encode`` refuses, in a value that was decoded from JSON. Raises InvalidArgument."""
    try:
        _walk(value)
    except _Flaw as flaw:
        raise flaw.error("") from None


def decoder(type_: type[T]) -> msgspec.json.Decoder[T]:
    """A strict decoder to this type. Raises TypeError for a type that has none."""
    return msgspec.json.Decoder(type_, dec_hook=_from_builtins)


def is_model(type_: object) -> bool:
    """Whether this is a pydantic 2 model class, told by its methods so that pydantic needn't be installed."""
    return isinstance(type_, type) and hasattr(type_, "model_validate_json") and hasattr(type_, "model_dump_json")


def _to_builtins(value: Any) -> object:
    if is_model(type(value)):
        return msgspec.Raw(value.model_dump_json().encode())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _from_builtins(type_: type[Any], value: object) -> object:
    if type_ is object:
        return value
    try:
        return type_.model_validate_json(_ENCODER.encode(value))
    except ValueError as error:
        # pydantic's own error lists every flaw over several lines; the first one, with its place, is enough to act on.
        first = error.errors()[0] if hasattr(error, "errors") else {"loc": (), "msg": str(error)}
        place = ".".join(str(each) for each in first["loc"])
        raise ValueError(f"{place}: {first['msg']}" if place else str(first["msg"])) from None


_ENCODER = msgspec.json.Encoder(enc_hook=_to_builtins)
_DECODER = msgspec.json.Decoder()


class _Flaw(Exception):
    """A part that can't be kept exactly. The path grows while the walk unwinds, so a good value never builds one."""

    def __init__(self, message: str, fix: str, kind: type[PerdureError] = InvalidArgument) -> None:
        super().__init__(message)
        self.message, self.fix, self.kind = message, fix, kind
        self.path: list[object] = []

    def error(self, field: str) -> PerdureError:
        steps = (f".{step}" if isinstance(step, str) else f"[{step!r}]" for step in reversed(self.path))
        return self.kind(self.message, field=(field + "".join(steps)).removeprefix(".") or None, fix=self.fix)


def _walk(value: Any) -> None:
    """Raise _Flaw at the first part that JSON would change."""
    kind = type(value)
    if kind in _ATOMS:
        return
    if kind is str:
        if "\0" in value:
            raise _Flaw("contains a NUL character, which Postgres can't read back", "remove it, or pass bytes")
    elif kind is dict or kind is list:
        _walk_parts(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _Flaw(f"is {value}, which JSON can't hold", "pass a finite number, or None where the task allows it")
    elif isinstance(value, (datetime, time)):
        if value.utcoffset() is None:
            raise _Flaw(f"{value.isoformat()} has no time zone", "pass an aware value, as datetime.now(UTC)")
    elif isinstance(value, Decimal):
        if not value.is_finite():
            raise _Flaw(f"is {value}, which is no number", "pass a finite Decimal")
    elif isinstance(value, Enum):
        _walk(value.value)
    else:
        _walk_parts(value)


def _walk_parts(value: Any) -> None:
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str or "\0" in key:
                _walk(key)
    for step, part in _parts(value):
        if type(part) not in _ATOMS:
            try:
                _walk(part)
            except _Flaw as flaw:
                flaw.path.append(step)
                raise


def _parts(value: Any) -> Iterable[tuple[object, Any]]:
    """What a value is made of, each part with its key, index or name; nothing for one like a UUID or a date."""
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, (list, tuple, set, frozenset)):
        return enumerate(value)
    if is_dataclass(value):
        names: Iterable[str] = (each.name for each in fields(value))
    elif isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
    elif is_model(type(value)):
        names = type(value).model_fields
    else:
        names = (each.name for each in getattr(type(value), "__attrs_attrs__", ()))
    return ((name, getattr(value, name)) for name in names)


def _diagnose(value: object, error: Exception) -> _Flaw:
    """Where in the value the encoder failed: the innermost part that fails by itself."""
    for step, part in _parts(value):
        try:
            _ENCODER.encode(part)
        except Exception as inner:
            flaw = _diagnose(part, inner)
            flaw.path.append(step)
            return flaw
    if isinstance(error, UnicodeEncodeError):
        return _Flaw("contains a lone surrogate, which is no UTF-8", "remove it, or pass bytes")
    kind = f"a value of type {type(value).__name__}"
    return _Flaw(f"{kind} can't be kept as JSON ({error})", "pass plain data, a dataclass or a model", Unserialisable)


def _oversize(value: object, size: int, field: str, bytes_max: int) -> PayloadTooLarge:
    """The refusal of a text that is too long, naming the largest argument when there are several."""
    if not field and isinstance(value, dict) and value:
        field = max(value, key=lambda name: len(_ENCODER.encode(value[name])))
    return PayloadTooLarge(
        f"the encoded value has {size:,} bytes, the limit is {bytes_max:,}",
        field=field or None,
        fix="keep the data in a table or a file, and pass its id",
    )


def _is_deep(encoded: bytes, depth_max: int = limits.PAYLOAD_DEPTH_MAX) -> bool:
    """Whether JSON is nested deeper than that. All in C, and few texts need more than the two counts."""
    if encoded.count(b"[") + encoded.count(b"{") <= depth_max:
        return False
    outside_texts = b"".join(encoded.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside_texts.translate(_SQUARED, _NO_BRACKETS)
    for _ in range(depth_max):
        brackets = brackets.replace(b"[]", b"")  # the innermost level of every branch
        if not brackets:
            return False
    return True


def _too_deep(value: object, field: str, kind: type[PerdureError]) -> PerdureError:
    """The refusal of a value nested too deeply, naming the argument."""
    if not field and isinstance(value, dict):
        deep = (name for name, part in value.items() if _is_deep(_ENCODER.encode(part), limits.PAYLOAD_DEPTH_MAX - 1))
        field = str(next(deep, ""))
    problem = f"is nested more than {limits.PAYLOAD_DEPTH_MAX} levels deep"
    return kind(problem, field=field or None, fix="give a flatter value, or keep it in a table and pass its id")
