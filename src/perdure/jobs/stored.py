"""A job to be enqueued later, as JSON text: what of its options isn't the default, read back by whoever enqueues it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ..core.backoff import Retry
from ..core.errors import InvalidOption
from .model import Cause, FollowUp, JobSpec
from .unique import Unique

_DEFAULTS = dict(
    zip(JobSpec.__struct_fields__[-len(JobSpec.__struct_defaults__) :], JobSpec.__struct_defaults__, strict=True)
)


def stored(spec: JobSpec) -> str:
    """The job as JSON object text."""
    return msgspec.json.encode(_words(spec)).decode()


def revived(text: str | bytes) -> JobSpec:
    """The job of a stored text. Raises InvalidOption for what this version doesn't know, and what JobSpec raises."""
    return _spec(text)


def _words(spec: JobSpec) -> dict[str, Any]:
    said = {"task": spec.task, "payload": msgspec.Raw(spec.payload.encode())}
    for name, default in _DEFAULTS.items():
        if (value := getattr(spec, name)) != default:
            said[name] = _ENCODE.get(name, _plain)(value)
    return said


def _spec(text: str | bytes | msgspec.Raw) -> JobSpec:
    said = _OBJECT.decode(text)
    if unknown := said.keys() - set(JobSpec.__struct_fields__):
        raise InvalidOption("is not an option that this version knows", field=min(unknown), fix="upgrade the workers")
    payload = bytes(said.pop("payload")).decode()  # as it was written: no number loses a digit
    known = {name: _DECODE.get(name, msgspec.json.decode)(value) for name, value in said.items()}
    return JobSpec(payload=payload, **known)


def _plain(value: Any) -> Any:
    return value


def _when(value: datetime | timedelta) -> dict[str, Any]:
    """A moment, or a time from the enqueue: as JSON both would be texts."""
    return {"at": value.isoformat()} if isinstance(value, datetime) else {"after": value.total_seconds()}


def _moment(text: msgspec.Raw) -> datetime | timedelta:
    said = msgspec.json.decode(text)
    return datetime.fromisoformat(said["at"]) if "at" in said else timedelta(seconds=said["after"])


class _Stored(msgspec.Struct):
    cause: Cause
    job: msgspec.Raw


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FOLLOW_UPS = msgspec.json.Decoder(list[_Stored])
_ENCODE: dict[str, Callable[[Any], Any]] = {
    "delay": _when,
    "run_at": _when,
    "expires": _when,
    "retry": lambda policy: policy.to_options(),
    "unique": lambda unique: {
        "key": unique.key,
        "scope": unique.scope,
        "until": unique.until,
        "lifetime": unique.seconds,
    },
    "follow_ups": lambda jobs: [{"cause": each.cause, "job": _words(each.job)} for each in jobs],
}
_DECODE: dict[str, Callable[[msgspec.Raw], Any]] = {
    "delay": _moment,
    "run_at": _moment,
    "expires": _moment,
    "retry": lambda text: Retry.from_options(msgspec.json.decode(text)),
    "tags": lambda text: tuple(msgspec.json.decode(text)),
    "unique": lambda text: Unique(**msgspec.json.decode(text)),
    "follow_ups": lambda text: tuple(FollowUp(each.cause, _spec(each.job)) for each in _FOLLOW_UPS.decode(text)),
}
