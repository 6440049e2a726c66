"""What the demonstrations say to Postgres beside the product's own ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..core.op import Op, Row, one, rows
from ..sql import statement
from .ledger import Counts


@dataclass(frozen=True, slots=True)
class Held:
    """A job in a worker's hands. ``started``: whether its handler has begun there. ``sent``: whether a receipt is."""

    id: int
    lease: int
    key: str
    started: bool
    sent: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended: one row of history."""

    id: int
    lease: int | None
    generation: int
    outcome: str
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished job with its payload and its result as JSON text."""

    id: int
    key: str
    outcome: str
    attempt: int
    rescues: int
    payload: str
    result: str | None


def _as_it_is(row: Row) -> Row:
    return row


DROP_SCHEMA = statement("demo.drop_schema", _as_it_is)
ALONE = statement("demo.alone", lambda row: bool(row["alone"]))
CREATE_ORDERS = statement("demo.create_orders", _as_it_is)
CREATE_RUNS = statement("demo.create_runs", _as_it_is)
CREATE_RECEIPTS = statement("demo.create_receipts", _as_it_is)
PAY = statement("demo.pay", _as_it_is)
LEFT_OF = statement("demo.left_of", lambda row: (int(row["orders"]), int(row["jobs"])))
START = statement("demo.start", _as_it_is)
SEND = statement("demo.send", _as_it_is)
PROGRESS = statement("demo.progress", lambda row: (int(row["completed"]), int(row["unfinished"])))
IN_HAND = statement("demo.in_hand", lambda row: Held(**row))
ENDS_OF = statement("demo.ends_of", lambda row: Ended(**row))
LEDGER = statement("demo.ledger", lambda row: Counts(**row))
SESSIONS = statement("demo.sessions", lambda row: int(row["open"]))
FINISHED = statement("demo.finished", lambda row: Finished(**row))


def alone() -> Op[bool]:
    """Take the demonstration for this session. False: another one runs here."""
    return (yield from one(ALONE))


def drop_schema() -> Op[None]:
    """Remove what an earlier demonstration left. Drive it on the demonstration's schema only."""
    yield from rows(DROP_SCHEMA)


def create() -> Op[None]:
    """The shop's own tables."""
    for each in (CREATE_ORDERS, CREATE_RUNS, CREATE_RECEIPTS):
        yield from rows(each)


def pay(cents: Mapping[int, int]) -> Op[None]:
    """Orders by number, with what was paid for each."""
    yield from rows(PAY, ids=list(cents), cents=list(cents.values()))


def left_of(order_id: int) -> Op[tuple[int, int]]:
    """What an order has left: rows of its own, and jobs about it."""
    return (yield from one(LEFT_OF, order_id=order_id))


def start(order_id: int, job: int, generation: int, pid: int) -> Op[None]:
    """Note that a handler has started."""
    yield from rows(START, order_id=order_id, job=job, generation=generation, pid=pid)


def send(order_id: int, job: int) -> Op[None]:
    """Record the receipt of an order, once."""
    yield from rows(SEND, order_id=order_id, job=job)


def progress() -> Op[tuple[int, int]]:
    """Jobs completed, and jobs unfinished."""
    return (yield from one(PROGRESS))


def in_hand(worker: int) -> Op[list[Held]]:
    """What a worker holds."""
    return (yield from rows(IN_HAND, worker=worker))


def sessions(worker: str) -> Op[int]:
    """How many sessions a worker still has, by its name."""
    return (yield from one(SESSIONS, name=worker))


def ends_of(ids: Sequence[int]) -> Op[list[Ended]]:
    """How these jobs ended, as far as they have."""
    return (yield from rows(ENDS_OF, ids=list(ids)))


def count() -> Op[Counts]:
    """Everything that the ledger is made of."""
    return (yield from one(LEDGER))


def finished(after: int, limit: int) -> Op[list[Finished]]:
    """The next finished jobs after this id."""
    return (yield from rows(FINISHED, after=after, limit=limit))
