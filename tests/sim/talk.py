"""Who takes part in a schedule, and the op that each of them has under way on its session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.core.errors import ConnectionLost
from perdure.core.op import Call
from tests.sim.crew import Worker
from tests.sim.deed import Deed, Script
from tests.sim.stand import Session

VOLATILE = ("holder",)
"""Columns that differ from run to run: how Postgres names a transaction."""


@dataclass(eq=False)
class Talk:
    """An op that is being driven on a session. ``owner`` is None once nobody waits for it: its process has crashed, or
    was told that the connection is lost; ``goes_on``: what it has sent arrives all the same. ``open``: something is
    uncommitted."""

    session: Session
    deed: Deed
    owner: Actor | None
    call: Call | None = None
    result: Any = None
    over: bool = False
    open: bool = False
    goes_on: bool = False
    frozen_until: int = 0

    def go(self, rows: Sequence[Mapping[str, Any]] | None) -> None:
        """Send the rows to the op: its next call, or its result."""
        try:
            self.call = next(self.deed.op) if rows is None else self.deed.op.send(rows)
        except StopIteration as done:
            self.call, self.result, self.over = None, done.value, True

    @property
    def commits(self) -> bool:
        """Whether its next step is a commit, or the roll-back it was going for."""
        return self.open and (self.over or not self.deed.together)


@dataclass(eq=False)
class Actor:
    """A script and the session it has. ``told``: what the script will be sent, or the error it will be thrown.
    ``cut``: the server behind its session is gone, which it will be told when it uses it."""

    name: str
    worker: Worker | None
    session: Session
    script: Script
    talk: Talk | None = None
    told: Any = None
    over: bool = False
    cut: bool = False
    frozen_until: int = 0

    @property
    def heard(self) -> bool:
        """Whether it knows of every server that was lost."""
        return not self.cut and not isinstance(self.told, ConnectionLost)


def workers_of(actors: Iterable[Actor]) -> list[Worker]:
    """The workers whose parts these actors are."""
    return list({id(actor.worker): actor.worker for actor in actors if actor.worker is not None}.values())


def shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A few words of what a statement brought."""
    if len(rows) != 1:
        return f"{len(rows)} rows"
    shown = {
        name: value
        for name, value in dict(rows[0]).items()
        if isinstance(value, int | bool | str | list) and name not in VOLATILE
    }
    return ", ".join(f"{name}={value}" for name, value in shown.items())[:120] or "nothing"
