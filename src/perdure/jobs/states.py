"""The lifecycle of a job: every legal move from place to place, as data. The statements carry the moves out; the
state-machine test plays them against this table, and docs/reference/states.md is drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .view import Place

Act = Literal[
    "enqueue", "claim", "complete", "cancel", "expire", "retry", "snooze", "bury", "park", "give_back", "rescue",
    "isolate", "promote", "hurry", "release", "redrive", "discard", "shed",
    "advance", "wait", "wake", "pause", "resume",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Move:
    """One move. ``source`` is None for a job that didn't exist.

    ``bumps``: the job's generation rises by one in the same statement, so that whoever held it before is stale.
    Whatever takes a job out of a lease alive bumps; what ends it for good needn't, because there is nothing left to
    match. ``when`` says what brings it about.
    """

    source: Place | None
    act: Act
    target: Place
    bumps: bool
    when: str


MOVES: tuple[Move, ...] = (
    Move(None, "enqueue", "ready", False, "due now"),
    Move(None, "enqueue", "scheduled", False, "due later"),
    Move("ready", "claim", "leased", False, "by a worker that is alive"),
    Move("ready", "cancel", "history", False, "cancelled before it was claimed"),
    Move("ready", "shed", "history", False, "gave way in a full queue to something more urgent"),
    Move("scheduled", "promote", "ready", False, "when it is due"),
    Move("scheduled", "hurry", "ready", False, "run now instead of later"),
    Move("scheduled", "cancel", "history", False, "cancelled before it was due"),
    Move("scheduled", "advance", "ready", False, "its queue has room for those in line"),
    Move("ready", "pause", "held", False, "paused before it was claimed"),
    Move("scheduled", "pause", "held", False, "paused before it was due"),
    Move("leased", "complete", "history", False, "the handler returned"),
    Move("leased", "cancel", "history", False, "stopped, or cancelled before it started"),
    Move("leased", "expire", "history", False, "too old when its turn came"),
    Move("leased", "retry", "scheduled", True, "failed, with attempts left"),
    Move("leased", "snooze", "scheduled", True, "the handler asked for later; no attempt charged"),
    Move("leased", "bury", "dead", True, "failed for good"),
    Move("leased", "park", "held", True, "nobody here knows its task; or somebody has paused it"),
    Move("leased", "give_back", "ready", True, "its worker drains, or never started it"),
    Move("leased", "rescue", "ready", True, "its worker was lost, the first time in a row, or before it began"),
    Move("leased", "rescue", "scheduled", True, "its worker was lost again: later"),
    Move("leased", "rescue", "dead", True, "lost too often, or it must not run twice"),
    Move("leased", "isolate", "scheduled", True, "a suspect crashed alone, with attempts left, or no child was free"),
    Move("leased", "isolate", "dead", True, "a suspect crashed alone too often"),
    Move("leased", "wait", "waiting", True, "a workflow with nothing to do until something happens"),
    Move("waiting", "wake", "ready", False, "a signal, a child's end, a moment, a cancel"),
    Move("waiting", "cancel", "history", False, "ended by force while it waited"),
    Move("held", "release", "ready", False, "a worker knows its task"),
    Move("held", "resume", "ready", False, "a paused job goes on"),
    Move("held", "resume", "scheduled", False, "a paused job that is due later is due then"),
    Move("held", "cancel", "history", False, "cancelled while it was parked"),
    Move("dead", "redrive", "ready", True, "run again from its first attempt"),
    Move("dead", "discard", "history", False, "given up for good"),
)

LEGAL: dict[tuple[Place | None, Act, Place], Move] = {(move.source, move.act, move.target): move for move in MOVES}


def targets(source: Place | None, act: Act) -> frozenset[Place]:
    """Where the act may take a job that stands in ``source``; nowhere when it is not a move."""
    return frozenset(move.target for move in MOVES if (move.source, move.act) == (source, act))


def mermaid(moves: Iterable[Move] = MOVES) -> str:
    """The moves as a Mermaid state diagram: one arrow for each pair of places, naming its acts."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for move in moves:
        acts = arrows.setdefault((move.source or "[*]", move.target), [])
        acts.append(move.act.replace("_", " "))
    lines = [f"    {source} --> {target}: {', '.join(acts)}" for (source, target), acts in arrows.items()]
    return "\n".join(["stateDiagram-v2", *lines, "    history --> [*]"])
