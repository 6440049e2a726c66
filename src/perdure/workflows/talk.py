"""What a worker and the child in which it has a run driven say to each other, besides the request and its outcome."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..core.context import Frame

What = Literal["load", "record", "take", "drive", "write", "process"]


class Ask(msgspec.Struct, frozen=True):
    """The child wants this done. ``frame``: what its code works under."""

    number: int
    what: What
    arguments: tuple[Any, ...]
    frame: Frame | None


class Drop(msgspec.Struct, frozen=True):
    """Nobody waits any more for what was asked under the number."""

    number: int


class Answer(msgspec.Struct, frozen=True):
    """What was asked is done, and durable; or it has raised the value."""

    number: int
    value: Any
    raised: bool = False


class Began(msgspec.Struct, frozen=True):
    """The child calls the function of a step, which may run for ``timeout`` seconds."""

    number: int
    address: str
    timeout: float | None


class Ended(msgspec.Struct, frozen=True):
    """The call of that number has ended, one way or the other."""

    number: int


class Told(msgspec.Struct, frozen=True):
    """The run is to go back between two steps; it is to be cancelled."""

    stopping: bool
    cancelled: bool
