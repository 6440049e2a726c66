"""Specs as the parameters of the enqueue statements. What no spec says isn't sent: a missing array reads as nulls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ..core.errors import InvalidArgument
from .model import FollowUp, JobSpec
from .unique import Unique

_Column = tuple[Any, ...]
_SEPARATOR = "\x1f"


def turned(specs: Sequence[JobSpec]) -> dict[str, _Column]:
    """The specs by option instead of by job: 0.3 µs each; reading them field by field takes more than twice that."""
    values = zip(*map(msgspec.structs.astuple, specs), strict=True)
    return dict(zip(JobSpec.__struct_fields__, values, strict=True))


def alike(said: dict[str, _Column]) -> bool:
    """Whether the jobs are due now and differ in their arguments only: then everything else is sent once."""
    return not any(
        column.count(column[0]) < len(column) for option, column in said.items() if option != "payload"
    ) and (said["delay"][0] is None and said["run_at"][0] is None)


def shared(spec: JobSpec, payloads: Sequence[str]) -> dict[str, Any]:
    """The parameters of ``jobs.enqueue_alike``: what one of the jobs says, and the arguments of all.

    One text instead of an array: 5 % of the whole enqueue, because neither side has to look at each of them. Raises
    InvalidArgument when a payload holds the separator, which no JSON does.
    """
    text = _SEPARATOR.join(payloads)
    if text.count(_SEPARATOR) != len(payloads) - 1:
        raise InvalidArgument("holds a control character", field="payload", fix="give JSON, as task.job(…) makes it")
    return {**scalars(spec), "payloads": text}


def alike_but_keys(said: dict[str, _Column]) -> bool:
    """Whether each of them has a unique key, and they differ in nothing but these and their arguments: not in how long
    the keys are held."""
    if None in said["unique"]:
        return False
    held = {(unique.scope, unique.until, unique.lifetime) for unique in said["unique"]}
    return len(held) == 1 and alike(said | {"unique": (None,)})


def shared_but_keys(spec: JobSpec, said: dict[str, _Column]) -> dict[str, Any] | None:
    """The parameters of ``jobs.enqueue_unique_alike``; None for keys that hold the separator. As ``shared``."""
    payloads = said["payload"]
    keys = [unique.key_for(payload) for unique, payload in zip(said["unique"], payloads, strict=True)]
    text = _SEPARATOR.join(keys)
    if text.count(_SEPARATOR) != len(keys) - 1:
        return None
    return {**unique_scalars(spec), **shared(spec, payloads), "uniques": text}


def columns(said: dict[str, _Column]) -> dict[str, Any]:
    """The parameters of ``jobs.enqueue``. One task, or one queue, for all is sent as an array of one."""
    count = len(said["payload"])
    rare = (said["timeout"], said["retry"], said["at_most_once"], said["unique"])
    unsaid = all(map(_silent, rare)) and said["version"].count(1) == count and said["follow_ups"].count(()) == count
    chosen = zip(*rare, said["version"], said["follow_ups"], strict=True)
    return {
        "payloads": list(said["payload"]),
        "tasks": _shared(said["task"]),
        "queues": _shared(said["queue"]),
        "keys": _array(said["key"]),
        "priorities": _array(said["priority"]),
        "run_ats": _array(said["run_at"]),
        "delays": _array(said["delay"], timedelta.total_seconds),
        "expires_ats": _array(said["expires"], moment),
        "expires_ins": _array(said["expires"], period),
        "options": [] if unsaid else [_options(*each) for each in chosen],
        "contexts": _array(said["context"], _context),
        "tags": [] if said["tags"].count(()) == count else [array_literal(tags) for tags in said["tags"]],
    }


def dues(specs: Sequence[JobSpec], late: Mapping[int, datetime | timedelta]) -> dict[str, Any]:
    """The due times of ``jobs.enqueue`` where those at some places differ from what the specs say; and their options,
    where a full queue has put some off: nothing else would tell that from what an enqueuer wanted."""
    said = [late.get(place, spec.run_at or spec.delay) for place, spec in enumerate(specs)]
    params: dict[str, Any] = {"run_ats": _array(tuple(said), moment), "delays": _array(tuple(said), period)}
    if any(isinstance(due, timedelta) for due in late.values()):
        params["options"] = [
            options(spec, put_off=isinstance(late.get(place), timedelta)) for place, spec in enumerate(specs)
        ]
    return params


def uniques(specs: Sequence[JobSpec]) -> dict[str, Any]:
    """What ``jobs.enqueue_unique`` is told beside ``columns``. Each of the specs has a unique key."""
    keys = [(spec.unique, spec) for spec in specs if spec.unique is not None]
    return {
        "scopes": [unique.scope_for(spec.task, spec.queue) for unique, spec in keys],
        "uniques": [unique.key_for(spec.payload) for unique, spec in keys],
        "untils": [unique.until for unique, _ in keys],
        "lifetimes": [unique.seconds for unique, _ in keys],
    }


def unique_scalars(spec: JobSpec) -> dict[str, Any]:
    """The parameters of ``jobs.enqueue_unique_one``, and of ``jobs.replace``. The spec has a unique key."""
    unique = spec.unique
    assert unique is not None
    return {
        **scalars(spec),
        "run_at": spec.run_at,
        "delay": None if spec.delay is None else spec.delay.total_seconds(),
        "scope": unique.scope_for(spec.task, spec.queue),
        "unique": unique.key_for(spec.payload),
        "until": unique.until,
        "lifetime": unique.seconds,
    }


def scalars(spec: JobSpec) -> dict[str, Any]:
    """The parameters of ``jobs.enqueue_one``."""
    return {
        "payload": spec.payload,
        "task": spec.task,
        "queue": spec.queue,
        "key": spec.key,
        "priority": spec.priority,
        "expires_at": moment(spec.expires),
        "expires_in": period(spec.expires),
        "options": options(spec),
        "tags": list(spec.tags) or None,
        "context": spec.context or None,
    }


def options(spec: JobSpec, *, put_off: bool = False) -> str | None:
    """What the enqueuer said about running this one job, as JSON text; what wasn't said is the task's to declare.
    ``put_off``: it is due later than was said, because its queue was full."""
    rare = (spec.timeout, spec.retry, spec.at_most_once, spec.unique)
    return _options(*rare, spec.version, spec.follow_ups, put_off=put_off)


def array_literal(values: Sequence[str]) -> str | None:
    """A Postgres array literal of texts, quoted as its manual says (8.15.2), or None for no values: an array of arrays
    must be rectangular, and jobs don't have equally many tags."""
    if not values:
        return None
    return "{" + ",".join('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values) + "}"


def _options(
    timeout: float | None,
    retry: Any,
    at_most_once: bool | None,
    unique: Unique | None,
    version: int,
    follow_ups: Sequence[FollowUp],
    *,
    put_off: bool = False,
) -> str | None:
    said: dict[str, object] = {}
    if timeout is not None:
        said["timeout"] = timeout
    if retry is not None:
        said["retry"] = retry.to_options()
    if at_most_once is not None:
        said["at_most_once"] = at_most_once  # a False, too: the task may declare otherwise
    if version != 1:
        said["version"] = version
    if unique is not None and unique.ends_with_the_job:
        said["unique"] = True  # whoever settles the job has a key to let go of
    if follow_ups:
        said["follow_ups"] = len(follow_ups)  # whoever settles the job has them to enqueue
    if put_off:
        said["put_off"] = True
    return msgspec.json.encode(said).decode() if said else None


def _silent(column: _Column) -> bool:
    return column.count(None) == len(column)


def _shared(column: _Column) -> list[str]:
    return [column[0]] if column.count(column[0]) == len(column) else list(column)


def _array(column: _Column, read: Callable[[Any], Any] | None = None) -> list[Any]:
    if _silent(column):
        return []
    if read is None:
        return list(column)
    values = [None if value is None else read(value) for value in column]
    return [] if all(value is None for value in values) else values


def _context(stored: str) -> str | None:
    return stored or None


def moment(said: datetime | timedelta | None) -> datetime | None:
    """The moment, if that is what was said; a span is ``period``'s."""
    return said if isinstance(said, datetime) else None


def period(said: datetime | timedelta | None) -> float | None:
    """The span in seconds, if that is what was said; a moment is ``moment``'s."""
    return said.total_seconds() if isinstance(said, timedelta) else None
