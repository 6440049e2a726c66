"""What became of a transaction whose commit got no answer: the server that ran it knows.

A server that was started anew isn't asked: behind the same address there may stand another one by then, which lacks
that commit, and has given the transaction's number to somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.op import Op, one
from ..sql import statement


@dataclass(frozen=True, slots=True)
class Witness:
    """A transaction: its number, None while it has written nothing, and since when its server has been up."""

    xid: str | None
    up_since: float


WITNESS = statement("session.witness", lambda row: Witness(row["xid"], row["up_since"]))
OUTCOME = statement("session.outcome", lambda row: {"committed": True, "aborted": False}.get(row["status"]))


def witness() -> Op[Witness]:
    """The transaction that this is asked in."""
    return (yield from one(WITNESS))


def committed(witness: Witness) -> Op[bool | None]:
    """Whether it was committed; None when that isn't known, or not yet."""
    return (yield from one(OUTCOME, xid=witness.xid, up_since=witness.up_since))
