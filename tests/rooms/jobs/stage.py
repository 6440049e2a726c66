"""A stage for the kernel: real sessions that drive real ops, each where a test wants it, and the truth of the tables.

A session that runs into a lock is started in a thread of its own; ``blocked`` waits until Postgres itself says that it
waits, and for whom. Nothing here sleeps for a second and hopes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from perdure.core.op import Op
from perdure.fleet.ops import workers
from perdure.jobs.floors import Floor
from perdure.jobs.model import JobSpec
from perdure.jobs.ops import claim as claiming
from perdure.jobs.ops import rescue as rescuing
from perdure.jobs.ops.chores import promote
from perdure.jobs.ops.enqueue import enqueue
from perdure.jobs.ops.queues import ensure
from perdure.jobs.ops.settle import settle
from perdure.jobs.work import Claimed, End, Verdict
from perdure.pg.drive import drive
from perdure.pg.link import PLANS
from perdure.sql import in_schema
from tests.conftest import Database

R = TypeVar("R")
T = TypeVar("T")
PATIENCE_SECONDS = 30.0
"""Bounds a failure; nothing waits this long when all is well."""

LANES = range(10)


class Session:
    """One connection, planned as a worker's. Ops run at once, or in a thread when they are going to wait."""

    def __init__(self, db: Database, thread: ThreadPoolExecutor) -> None:
        self.schema = db.schema
        settings = " ".join(f"-c {name}={value}" for name, value in PLANS.items())
        self.conn = db.connect(options=settings)
        self.pid = self.conn.info.backend_pid
        self._thread = thread

    def run(self, op: Op[R]) -> R:
        """Drive the op here and now; each statement commits by itself unless ``begin`` was said."""
        return drive(self.conn, op, self.schema)

    def start(self, op: Op[R]) -> Future[R]:
        """Drive the op in a thread, because it is going to wait for somebody."""
        return self._thread.submit(self.run, op)

    def background(self, act: Callable[[], T]) -> Future[T]:
        """Do something else with this session in its thread, because it is going to wait for somebody."""
        return self._thread.submit(act)

    def sql(self, text: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement of the test's own; its rows."""
        cursor = self.conn.execute(in_schema(text, self.schema).encode(), params)
        return cursor.fetchall() if cursor.description else []

    def begin(self) -> None:
        """Open a transaction."""
        self.sql("begin")

    def commit(self) -> None:
        """Commit it."""
        self.sql("commit")

    def rollback(self) -> None:
        """Roll it back."""
        self.sql("rollback")


@dataclass(slots=True)
class Member:
    """A worker as the database knows it, and the floors it keeps, by queue."""

    id: int
    incarnation: int
    floors: dict[int, Floor]

    def floor(self, queue: int) -> Floor:
        """The floor of a queue's ten lanes."""
        return self.floors.setdefault(queue, Floor(tuple(queue * 4096 + priority for priority in LANES)))


@dataclass(frozen=True, slots=True, order=True)
class Standing:
    """One place in which a job stands, with what its body says."""

    place: str
    generation: int
    attempt: int
    rescues: int


class Stage:
    """Sessions on one database, and short words for what the tests do all the time."""

    spec = JobSpec(task="work", payload="{}")

    def __init__(self, db: Database) -> None:
        self.db = db
        self._closing = ExitStack()
        self.main = self.session()
        self.queue = self.main.run(ensure(["default"]))["default"]

    def session(self) -> Session:
        """A further session."""
        thread = self._closing.enter_context(ThreadPoolExecutor(1))
        return Session(self.db, thread)

    def close(self) -> None:
        """Wait for the threads; a session that still waits for a lock is ended first."""
        self.main.conn.rollback()
        self.main.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        self._closing.close()

    def enqueue(self, jobs: int = 1, *, session: Session | None = None, **options: Any) -> list[int]:
        """Jobs of the task ``work``; their ids."""
        return (session or self.main).run(enqueue([self.spec.options(**options)] * jobs))

    def worker(self, name: str = "w", *, unsettled: int | None = None) -> Member:
        """A worker of ten slots that is alive until somebody says otherwise: nobody beats for it, and a test may be
        held up for longer than a beat is good for. ``unsettled``: what it promises, so that rescue can tell who began.
        """
        id, incarnation = self.main.run(
            workers.register(name=name, host="h", pid=1, slots=10, queues=["default"], unsettled=unsettled)
        )
        self.outlive(id)
        return Member(id, incarnation, {})

    def outlive(self, worker: int, *, session: Session | None = None) -> None:
        """The worker's last beat is good for as long as any test takes."""
        hour = "update perdure.worker set expires_at = clock_timestamp() + interval '1 hour' where id = %s"
        (session or self.main).sql(hour, [worker])

    def claim(
        self, member: Member, limit: int = 100, *, session: Session | None = None, queue: int | None = None
    ) -> list[Claimed]:
        """Claim at the worker's floor, and note what was claimed there; the jobs, none when nothing was to be had."""
        batch = (session or self.main).run(self.claiming(member, limit, queue=queue))
        floor = member.floor(queue or self.queue)
        floor.claimed(batch.highest if batch else {}, short=batch is None or len(batch.jobs) < limit)
        return batch.jobs if batch else []

    def claiming(self, member: Member, limit: int = 100, *, queue: int | None = None) -> Op[claiming.Batch | None]:
        """The op of a claim, to be started in a session."""
        floor = member.floor(queue or self.queue)
        return claiming.claim(member.id, member.incarnation, queue or self.queue, floor, limit)

    def tend(self, floor: Floor, now: float, *, lag: float = 0.0, session: Session | None = None) -> bool:
        """What a claimer does once a lag: list the writers, then probe what the floor asks. True: stragglers."""
        session = session or self.main
        ranges = floor.listed(session.run(claiming.writers()), now, lag)
        return bool(ranges) and floor.probed(session.run(claiming.probe(ranges)))

    def settle(self, ends: Sequence[End], member: Member, *, session: Session | None = None) -> list[End]:
        """Settle in one transaction, as a worker does; the stale ends."""
        session = session or self.main
        with session.conn.transaction():
            sides = any(end.job.extras is not None and end.job.extras.sides for end in ends)
            return session.run(settle(ends, member.id, sides=sides))

    def due(self) -> int:
        """Everything that is scheduled falls due, and is promoted; how many were."""
        self.main.sql(
            "with d as (update perdure.scheduled s set run_at = clock_timestamp() - interval '1 s' "
            "returning s.id, s.run_at) update perdure.job j set run_at = d.run_at from d where j.id = d.id"
        )
        return self.main.run(promote())

    def lose(self, member: Member, *, session: Session | None = None) -> bool:
        """The worker's beat runs out, and somebody declares it dead."""
        session = session or self.main
        self.silence(member)
        with session.conn.transaction():
            return session.run(workers.declare_dead(member.id)) is not None

    def silence(self, member: Member) -> None:
        """The worker's beat runs out."""
        self.main.sql(
            "update perdure.worker set expires_at = clock_timestamp() - interval '1 s' where id = %s", [member.id]
        )

    def rescue(self, *, session: Session | None = None) -> int:
        """Rescue every lost lease, then close those that are empty; how many jobs were taken out."""
        session = session or self.main
        after, rescued = 0, 0
        while (found := session.run(rescuing.rescue(after))).lease is not None:
            after, rescued = found.lease, rescued + found.rescued
        session.run(rescuing.close_leases())
        return rescued

    def blocked(self, waiter: Session, by: Session | None = None) -> None:
        """Wait until the session waits for a lock (of that other session)."""
        until = monotonic() + PATIENCE_SECONDS
        while monotonic() < until:
            [(blockers,)] = self.main.sql("select pg_blocking_pids(%s)", [waiter.pid])
            if blockers and (by is None or by.pid in blockers):
                return
        raise AssertionError("the session doesn't wait for the lock it should wait for")

    def standings(self) -> dict[int, list[Standing]]:
        """Every job there is or was, and each place in which it stands: exactly one, if all is well."""
        found: dict[int, list[Standing]] = {}
        for id, place, generation, attempt, rescues in self.main.sql(STANDINGS):
            found.setdefault(id, [])
            if place is not None:
                found[id].append(Standing(place, generation, attempt, rescues))
        return found

    def places(self) -> dict[int, str]:
        """Each job's one place. Fails when a job stands in none, or in two."""
        standings = self.standings()
        astray = {id: found for id, found in standings.items() if len(found) != 1}
        assert astray == {}, "a job stands in exactly one place"
        return {id: found[0].place for id, found in standings.items()}

    def counts(self, table: str) -> int:
        """The rows of a table of the schema."""
        return int(self.main.sql(f"select count(*) from perdure.{table}")[0][0])


STANDINGS = """
select j.id, p.place, j.generation, j.attempt, j.rescues
from perdure.job j left join (
    select id, lane, pos, null::timestamptz as run_at, null::int as generation, 'ready' as place from perdure.ready
    union all select id, null, null, run_at, null, 'scheduled' from perdure.scheduled
    union all select id, null, null, null, null, 'held' from perdure.held
    union all select id, null, null, null, null, 'waiting' from perdure.waiting
    union all select id, null, null, null, null, 'dead' from perdure.dead
    union all select t.id, null, null, null, t.generation, 'leased'
              from perdure.lease l, unnest(l.jobs, l.generations) as t(id, generation)
) p on p.id = j.id
   and (p.place <> 'ready' or (p.lane, p.pos) = (j.lane, j.pos))
   and (p.place <> 'scheduled' or p.run_at = j.run_at)
   and (p.place <> 'leased' or p.generation = j.generation)
union all
select id, 'history', generation, attempt, rescues from perdure.history
union all
select p.id, 'a place without a body', 0, 0, 0
from (select id from perdure.ready union all select id from perdure.scheduled union all select id from perdure.held
      union all select id from perdure.waiting union all select id from perdure.dead) p
where not exists (select from perdure.job j where j.id = p.id)
"""


def end(job: Claimed, verdict: Verdict = "completed", **details: Any) -> End:
    """An end as the runner would make it, with what its verdict needs."""
    told: dict[str, dict[str, Any]] = {
        "completed": {"result": '"done"'},
        "dead": {"reason": "exhausted", "text": "it failed"},
        "held": {"reason": "unknown_task", "key": job.task, "charge": 0},
        "returned": {"reason": "drain", "charge": 0},
        "snooze": {"charge": 0, "delay": 60.0},
        "retry": {"text": "it failed", "delay": 60.0},
        "crashed": {"text": "its child died", "delay": 60.0},
        "deferred": {"charge": 0, "text": "no child was free", "delay": 60.0},
    }
    return End(job, verdict, elapsed=0.01, **(told.get(verdict, {"charge": 0}) | details))


def ids(jobs: Sequence[Claimed]) -> list[int]:
    """The ids of claimed jobs, in their order."""
    return [job.id for job in jobs]


def ended(ends: Sequence[End]) -> list[int]:
    """The ids of ends, in their order."""
    return [each.job.id for each in ends]
