"""Register, beat, drain, leave; and what others do: declare dead, list, prune."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...core import limits
from ...core.op import Op, Row, maybe, one, rows
from ...sql import statement
from ..model import Beat, Connections, Crashes, Worker


def _beat(row: Row) -> Beat:
    wanted = tuple(row["cancels"] or ()), tuple(row["pauses"] or ())
    lost = tuple(row["expired"]), tuple(row["taken"] or ())
    return Beat(row["state"], row["incarnation"], *wanted, row["living"], *lost)


def _worker(row: Row) -> Worker:
    gauges = row["gauges"]
    return Worker(**{**row, "gauges": msgspec.json.decode(gauges) if isinstance(gauges, str) else gauges})


REGISTER = statement("fleet.register", lambda row: (int(row["id"]), int(row["incarnation"])))
BEAT = statement("fleet.beat", _beat)
EXPIRED = statement("fleet.expired", lambda row: int(row["id"]))
DECLARE_DEAD = statement("fleet.declare_dead", lambda row: str(row["name"]))
PROMISE = statement("fleet.promise", lambda row: int(row["id"]))
DRAIN = statement("fleet.drain", lambda row: int(row["id"]))
LEAVE = statement("fleet.leave", lambda row: int(row["id"]))
KNOWN = statement("fleet.known", lambda row: int(row["id"]))
RUNNING = statement("fleet.running", lambda row: int(row["id"]))
REINCARNATE = statement("fleet.reincarnate", lambda row: int(row["incarnation"]))
LIST = statement("fleet.list", _worker)
CONNECTIONS = statement("fleet.connections", lambda row: Connections(**row))
PRUNE = statement("fleet.prune", lambda row: int(row["id"]))
CRASHES = statement("fleet.crashes", lambda row: Crashes(row["crashes"], row["last_at"], list(row["named"])))
EXCUSE = statement("fleet.excuse", lambda row: int(row["id"]))


def register(
    *,
    name: str,
    host: str,
    pid: int,
    slots: int,
    queues: Sequence[str],
    workflows: Sequence[str] = (),
    unsettled: int | None = None,
) -> Op[tuple[int, int]]:
    """A new worker's (id, incarnation). Workers of one name are different workers.

    ``workflows``: which ones it runs, by name and version. ``unsettled``: the promise that at most so many of its
    handlers have returned without their jobs being settled; None for no promise.
    """
    return (
        yield from one(
            REGISTER,
            name=name,
            host=host,
            pid=pid,
            slots=slots,
            queues=list(queues),
            workflows=list(workflows) or None,
            unsettled=unsettled,
            dead_seconds=limits.DEAD_SECONDS,
        )
    )


def beat(worker: int, gauges: str | None = None, leases: Sequence[int] = ()) -> Op[Beat | None]:
    """Say this worker is alive, with these leases in its hands. None: it has been declared dead, or has left, and must
    not go on as this worker."""
    seconds = limits.DEAD_SECONDS
    return (yield from maybe(BEAT, worker=worker, gauges=gauges, leases=list(leases), dead_seconds=seconds))


def declare_dead(worker: int) -> Op[str | None]:
    """Declare dead a worker whose beat has run out; its name, or None when it has beaten since. One transaction.

    The row is locked first, which waits for a claim in flight (a claim holds it for key share); the UPDATE alone
    would not. Its leases are read by a later statement, after this has committed.
    """
    if (yield from maybe(EXPIRED, worker=worker)) is None:
        return None
    return (yield from maybe(DECLARE_DEAD, worker=worker))


def promise(worker: int, unsettled: int | None) -> Op[bool]:
    """Promise how many handlers may have returned without their jobs being settled. False: there is no such row."""
    return (yield from maybe(PROMISE, worker=worker, unsettled=unsettled)) is not None


def drain(worker: int) -> Op[bool]:
    """Claim no more; leases stay. False when the worker isn't alive any more."""
    return (yield from maybe(DRAIN, worker=worker)) is not None


def leave(worker: int, cause: str | None = None) -> Op[bool]:
    """Sign off. Whatever the worker still holds is open to rescue from now. ``cause``: why its end isn't clean."""
    return (yield from maybe(LEAVE, worker=worker, cause=cause)) is not None


def reincarnate(worker: int, incarnation: int) -> Op[int | None]:
    """After a broken connection: wait for our own claim in flight, and outdate any other. None: we are dead.

    ``incarnation``: one that was never asked for before. A statement that was lost on the wire and is carried out only
    after this one asks for less, and changes nothing: otherwise every claim would name an incarnation that is over.
    """
    return (yield from maybe(REINCARNATE, worker=worker, incarnation=incarnation))


def list_workers(limit: int = 200) -> Op[list[Worker]]:
    """The living, and those that ended lately."""
    return (yield from rows(LIST, limit=limit))


def is_known(worker: int) -> Op[bool]:
    """Whether there is such a worker, or was lately."""
    return (yield from maybe(KNOWN, worker=worker)) is not None


def is_workflow(task: str) -> Op[bool]:
    """Whether it is what a workflow's runs are called by a worker that lives, or ended lately."""
    return "/" in task and (yield from maybe(RUNNING, workflow=task)) is not None


def connections() -> Op[Connections]:
    """What the server allows, and what the living workers may ask of it."""
    return (yield from one(CONNECTIONS))


def prune(days: int = 1, limit: int = limits.CHORE_BATCH_MAX) -> Op[int]:
    """Forget workers that ended long ago and hold nothing; how many."""
    return len((yield from rows(PRUNE, days=days, limit=limit)))


def crashes(window: float = limits.CRASH_WINDOW_SECONDS) -> Op[Crashes]:
    """The unclean ends of workers within the window (seconds)."""
    return (yield from one(CRASHES, window=window))


def excuse() -> Op[int]:
    """Let the unclean ends so far not count towards a crash loop any more; how many there were."""
    return len((yield from rows(EXCUSE)))
