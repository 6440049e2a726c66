"""What the machine says at the end of a turn: what is needed next, or how the run has ended."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from ..core.errors import PerdureError
from .commands import Block, Command, Gather
from .model import Step


class Perform(msgspec.Struct, frozen=True):
    """Carry these out; side by side when there is a gathering."""

    commands: list[Command]
    gather: Gather | None


class Enter(msgspec.Struct, frozen=True):
    """Open the transaction of a block."""

    block: Block


class Exit(msgspec.Struct, frozen=True):
    """Commit the block's transaction with its record, or roll it back for the error."""

    block: Block
    error: BaseException | None


class Foreign(msgspec.Struct, frozen=True):
    """Await this for the code, inside its transaction."""

    awaited: Any


class Interrupt(msgspec.Struct, frozen=True):
    """The run is to end, and this is where it is told: record that, and what becomes of these."""

    commands: list[Command]
    anchor: str


AT_END = "cancel"
"""Where a run is told to end whose code has returned. No step of the code has that name."""


class Continue:
    """What a function returns that wants to begin anew with other arguments."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments


class Returned(msgspec.Struct, frozen=True):
    """The code has returned."""

    value: Any


class Failed(msgspec.Struct, frozen=True):
    """The code has raised. ``compensated``: how many steps were. ``unsettled``: the compensation that failed."""

    error: BaseException
    compensated: int = 0
    unsettled: Step | None = None


class Broken(msgspec.Struct, frozen=True):
    """The code can't be replayed: it has diverged from what is recorded, or does what no replay can repeat."""

    error: PerdureError


Turn: TypeAlias = Perform | Enter | Exit | Foreign | Interrupt | Returned | Failed | Broken
