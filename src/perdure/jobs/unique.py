"""Unique keys: which jobs are the same, for how long, and what becomes of an enqueue that finds the key taken."""

from __future__ import annotations

import hashlib
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from ..core import check, limits
from ..core.errors import InvalidOption

Scope: TypeAlias = Literal["task", "queue", "everywhere"]
Until: TypeAlias = Literal["started", "done", "expired"]
OnConflict: TypeAlias = Literal["skip", "replace", "raise"]

ARGUMENTS: Final = "arguments:"
"""What keys made from the arguments begin with, before their hash."""


@dataclass(frozen=True, slots=True)
class Unique:
    """One job at a time for one key.

    ``key``: what the job is the only one for; None makes the key from the job's arguments. ``scope``: whom it is shared
    with: jobs of the same task, of the same queue, or all. ``until``: how long it is held: while the job waits to be
    started, until it is done (dead isn't done: it may be redriven), or for the lifetime, whatever becomes of the job.
    ``lifetime`` (seconds, or a timedelta) counts from the enqueue and outlives the job; with "done" the key is held for
    both. Raises InvalidOption.
    """

    key: str | None = None
    _: KW_ONLY
    scope: Scope = "task"
    until: Until = "done"
    lifetime: timedelta | float | None = None

    def __post_init__(self) -> None:
        if self.key is not None:
            check.text("unique.key", self.key, limits.KEY_CHARS_MAX)
        _check_word("unique.scope", self.scope, get_args(Scope))
        _check_word("unique.until", self.until, get_args(Until))
        if self.lifetime is not None:
            lifetime = check.delay("unique.lifetime", self.lifetime)
            if not lifetime:
                raise InvalidOption(
                    f"{self.lifetime!r} is not allowed",
                    field="unique.lifetime",
                    fix="give more than 0, or leave it out: the key is then free once its job is done",
                )
            object.__setattr__(self, "lifetime", lifetime)
        if self.until == "expired" and self.lifetime is None:
            raise InvalidOption('is "expired" without a lifetime', field="unique.until", fix="give a lifetime, too")
        if self.until == "started" and self.lifetime is not None:
            raise InvalidOption(
                'is given together with until="started", which frees the key sooner',
                field="unique.lifetime",
                fix='leave it out, or say until="done" or until="expired"',
            )

    def key_for(self, payload: str) -> str:
        """The key of a job with these arguments: the one that was given, or a hash of the arguments, in which neither
        their order nor their spacing matters."""
        if self.key is not None:
            return self.key
        plain = msgspec.json.encode(msgspec.json.decode(payload), order="sorted")
        return ARGUMENTS + hashlib.sha256(plain).hexdigest()[:40]

    def scope_for(self, task: str, queue: str) -> str:
        """The scope of a job of that task on that queue, as it is stored."""
        return {"task": f"task:{task}", "queue": f"queue:{queue}"}.get(self.scope, "everywhere")

    @property
    def seconds(self) -> float | None:
        """The lifetime in seconds."""
        return self.lifetime.total_seconds() if isinstance(self.lifetime, timedelta) else None

    @property
    def ends_with_the_job(self) -> bool:
        """Whether whoever ends the job lets go of the key."""
        return self.lifetime is None


def checked(said: object) -> Unique | None:
    """What was said as ``unique``: a key, True for one made from the arguments, a Unique, or nothing.

    Raises InvalidOption.
    """
    if said is None or said is False:
        return None
    if said is True:
        return Unique()
    if isinstance(said, str):
        return Unique(said)
    if not isinstance(said, Unique):
        raise InvalidOption(f"got {type(said).__name__}", field="unique", fix="give a key, True, or a Unique")
    return said


def check_conflict(on_conflict: object, unique: Unique | None) -> None:
    """Refuse what can't be done about a key that is taken. Raises InvalidOption."""
    _check_word("on_conflict", on_conflict, get_args(OnConflict))
    if unique is None:
        raise InvalidOption("is given without unique", field="on_conflict", fix="give unique, too, or leave it out")
    if on_conflict == "replace" and unique.scope != "task":
        raise InvalidOption(
            f'"replace" would put these arguments into a job of another task (the scope is {unique.scope!r})',
            field="on_conflict",
            fix='say scope="task", or "skip" or "raise"',
        )


def _check_word(field: str, word: object, allowed: tuple[str, ...]) -> None:
    if word not in allowed:
        raise InvalidOption(f"{word!r} is not allowed", field=field, fix=f"give one of {', '.join(allowed)}")
