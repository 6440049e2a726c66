"""What a benchmark says to Postgres beside the product's own ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.op import Op, Row, one, rows
from ..sql import statement
from ..workflows.model import Entry
from ..workflows.ops.record import columns


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows stand where, and what the completed jobs have cost. ``jobs``: different ids among ``history``."""

    job: int
    ready: int
    lease: int
    history: int
    jobs: int
    extra_attempts: int
    rescues: int
    dead_workers: int


@dataclass(frozen=True, slots=True)
class Server:
    """The server that is measured."""

    version: str
    fsync: str
    synchronous_commit: str


@dataclass(frozen=True, slots=True)
class Parked:
    """Runs that wait, jobs that workers hold, and jobs that have completed."""

    waiting: int
    held: int
    completed: int


def _as_it_is(row: Row) -> Row:
    return row


CREATE_FLOOR = statement("bench.create_floor", _as_it_is)
FILL_STEPS = statement("bench.fill_steps", lambda row: row)
FILLED = {
    "runs", "names", "seqs", "kinds", "states", "attempts", "started", "ended", "dues", "details", "outcomes",
}  # fmt: skip
"""What of an entry is written; the rest fences it."""

FILL_FLOOR = statement("bench.fill_floor", _as_it_is)
EMPTY_FLOOR = statement("bench.empty_floor", _as_it_is)
ADD_FLOOR = statement("bench.add_floor", _as_it_is)
CLEAR = statement("bench.clear", _as_it_is)
VACUUM = statement("bench.vacuum", _as_it_is)
CHECKPOINT = statement("bench.checkpoint", _as_it_is)
DROP_SCHEMA = statement("bench.drop_schema", _as_it_is)
HOLD = statement("bench.hold", _as_it_is)
LOOK_ON = statement("bench.look_on", _as_it_is)
RING = statement("bench.ring", _as_it_is)
COUNT = statement("bench.count", lambda row: Counts(**row))
PARKED = statement("bench.parked", lambda row: Parked(**row))
LEASES = statement("bench.leases", lambda row: (int(row["id"]), int(row["lease"])))
LAST_LEASE = statement("bench.last_lease", lambda row: int(row["lease"]))
SESSIONS = statement("bench.sessions", lambda row: (int(row["pid"]), float(row["asked_at"])))
SIZES = statement("bench.sizes", lambda row: (str(row["name"]), int(row["bytes"]), int(row["dead"])))
FILL_HISTORY = statement("bench.fill_history", _as_it_is)
SERVER = statement("bench.server", lambda row: Server(**row))


def fill_floor(ids: Sequence[int], payloads: Sequence[str]) -> Op[None]:
    """Plain rows, in one statement."""
    yield from rows(FILL_FLOOR, ids=ids, payloads=payloads)


def empty_floor(ids: Sequence[int]) -> Op[None]:
    """Take plain rows out again."""
    yield from rows(EMPTY_FLOOR, ids=ids)


def add_floor(id: int, payload: str) -> Op[None]:
    """One plain row."""
    yield from rows(ADD_FLOOR, id=id, payload=payload)


def create_floor() -> Op[None]:
    """The floor's table."""
    yield from rows(CREATE_FLOOR)


def drop_schema() -> Op[None]:
    """Remove everything. Drive it on the schema of a benchmark only."""
    yield from rows(DROP_SCHEMA)


def clear() -> Op[None]:
    """Empty the places."""
    yield from rows(CLEAR)


def settle_down() -> Op[None]:
    """Vacuum what was just written, and let a checkpoint pass."""
    yield from rows(VACUUM)
    yield from rows(CHECKPOINT)


def hold() -> Op[None]:
    """Make the transaction that drives this one with an id, and a snapshot where it keeps one."""
    yield from rows(HOLD)


def look_on() -> Op[None]:
    """Make the repeatable read transaction that drives this keep its snapshot."""
    yield from rows(LOOK_ON)


def ring(channel: str, payload: str) -> Op[None]:
    """Notify whoever listens, when this is committed."""
    yield from rows(RING, channel=channel, payload=payload)


def count() -> Op[Counts]:
    """Everything there is."""
    return (yield from one(COUNT))


def parked() -> Op[Parked]:
    """What has become of the runs."""
    return (yield from one(PARKED))


def leases(ids: Sequence[int]) -> Op[dict[int, int]]:
    """The leases that these finished jobs were in."""
    return dict((yield from rows(LEASES, ids=list(ids))))


def last_lease() -> Op[int]:
    """The newest lease there ever was; 0 before the first."""
    return (yield from one(LAST_LEASE))


def sessions() -> Op[dict[int, float]]:
    """When each other session in the schema began its last statement (seconds since 1970), by its process."""
    return dict((yield from rows(SESSIONS)))


def sizes() -> Op[list[tuple[str, int, int]]]:
    """Of each table that jobs pass through: its name, its bytes with indexes, its dead rows."""
    return (yield from rows(SIZES))


def fill_history(first: int, last: int, payload: str) -> Op[None]:
    """Finished jobs that never ran, with these numbers."""
    yield from rows(FILL_HISTORY, first=first, last=last, payload=payload)


def server() -> Op[Server]:
    """What is measured."""
    return (yield from one(SERVER))


def fill_steps(entries: Sequence[Entry]) -> Op[list[None]]:
    """Put in the row of each, as a step's record is written, and nothing else."""
    yield from rows(FILL_STEPS, **{name: column for name, column in columns(entries).items() if name in FILLED})
    return [None] * len(entries)
