"""What the machine says at the end of a turn: what is needed next, or how the run has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ..core.errors import PerdureError
from .commands import Block, Command, Gather
from .model import Step


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry these out; side by side when there is a gathering."""

    commands: list[Command]
    gather: Gather | None


@dataclass(frozen=True, slots=True)
class Enter:
    """Open the transaction of a block."""

    block: Block


@dataclass(frozen=True, slots=True)
class Exit:
    """Commit the block's transaction with its record, or roll it back for the error."""

    block: Block
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Foreign:
    """Await this for the code, inside its transaction."""

    awaited: Any


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The run is to end, and this is where it is told: record that, and what becomes of these."""

    commands: list[Command]
    anchor: str


AT_END = "cancel"
"""Where a run is told to end whose code has returned. No step of the code has that name."""


class Continue:
    """What a function returns that wants to begin anew with other arguments."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments


@dataclass(frozen=True, slots=True)
class Returned:
    """The code has returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """The code has raised. ``compensated``: how many steps were. ``unsettled``: the compensation that failed."""

    error: BaseException
    compensated: int = 0
    unsettled: Step | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """The code can't be replayed: it has diverged from what is recorded, or does what no replay can repeat."""

    error: PerdureError


Turn: TypeAlias = Perform | Enter | Exit | Foreign | Interrupt | Returned | Failed | Broken
