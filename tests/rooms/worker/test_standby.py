"""What a worker was told by a server that is gone, and what the one that took over knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from perdure.core.errors import ConnectionLost
from perdure.core.op import Op
from perdure.jobs.loops.claimer import Identity
from perdure.jobs.loops.pacer import Pacer
from perdure.jobs.loops.recoverer import Recoverer
from perdure.jobs.loops.settler import Settler
from perdure.jobs.ops.settle import complete_unheld
from perdure.jobs.work import Claimed, Lease
from perdure.pg.link import Link
from tests.conftest import Database
from tests.rooms.jobs.stage import Member, Stage, end


@dataclass
class Half:
    """The half of a worker that settles and recovers. ``answers``: how the next ops of this name are answered, instead
    of by the server."""

    settler: Settler
    recoverer: Recoverer
    me: Identity
    leases: dict[int, Lease]
    answers: dict[str, list[Callable[[Op[Any]], Any]]] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Settle from now on."""
        self.tasks.append(asyncio.create_task(self.settler.run()))

    async def settled(self) -> None:
        """Whatever has ended is settled, or found to be stale."""
        await asyncio.wait_for(self.settler.settled(), 30.0)


@asynccontextmanager
async def half(db: Database, member: Member, jobs: list[Claimed], *, settles: bool = True) -> AsyncIterator[Half]:
    """It settles until the end of the block, or once it is started, and has these jobs in hand."""
    link, me, leases = Link(db.url, db.schema, "settle"), Identity(), {job.lease.id: job.lease for job in jobs}
    me.worker, me.incarnation = member.id, member.incarnation
    settler = Settler(link, lambda: me.worker, leases, lambda: None, Pacer(link, lambda: me.worker, 0))
    here = Half(settler, Recoverer(link, me, settler, [], leases), me, leases)
    sent: Callable[[Op[Any]], Awaitable[Any]] = link.run

    async def run(op: Op[Any]) -> Any:
        if answers := here.answers.get(op.__name__):  # type: ignore[attr-defined]
            return answers.pop(0)(op)
        return await sent(op)

    link.run = run  # type: ignore[method-assign]
    try:
        if settles:
            here.start()
        yield here
    finally:
        for task in here.tasks:
            task.cancel()
        await link.close()


def gone(op: Op[Any]) -> None:
    """The server is gone."""
    op.close()
    raise ConnectionLost("the server is gone")


@pytest.mark.parametrize("asks_first", ["the settler", "the recoverer"])
@pytest.mark.parametrize("how", ["its worker", "its handler"])
async def test_a_lease_goes_back_whole_when_the_server_lacks_what_was_settled_of_it(
    db: Database, how: str, asks_first: str
) -> None:
    """The server that took over has the lease, and lacks the settlement of two of its jobs, which the worker was told
    of: with the end of the third the lease isn't dropped, which would leave the two nowhere. All of it goes back, and
    what must not run twice is to be reviewed [DW-30]. Red when a lease is believed to be as empty as the worker was
    told, by the settler or by the recoverer."""
    stage = Stage(db)
    me, ids = stage.worker(), stage.enqueue(2) + stage.enqueue(at_most_once=True)
    first, last, once = stage.claim(me)
    async with half(db, me, [first]) as worker:
        stage.main.begin()  # all this was on the server that is lost
        ended = [end(first), end(once)]
        if how == "its worker":
            worker.answers["settle"] = [lambda op: stage.main.run(op)]
            for each in ended:
                worker.settler.end(each)
            await worker.settled()
        else:
            for each in ended:
                stage.main.run(complete_unheld(each))
                each.written = "yes"
        stage.main.rollback()

        def gone_too(op: Op[Any]) -> None:
            if how == "its handler":
                for each in ended:
                    worker.settler.end(each)
            gone(op)

        worker.answers["settle" if asks_first == "the settler" else "reincarnate"] = [gone_too]
        if asks_first == "the settler":
            worker.settler.end(end(last))
            await worker.settled()
            assert set(stage.places().values()) == {"leased"}
        await worker.recoverer.recover()
        await worker.settled()
        places, standings = stage.places(), stage.standings()
        leases = stage.counts("lease")
    stage.close()

    assert places == dict(zip(ids, ("ready", "ready", "dead"), strict=True))
    assert [len(found) for found in standings.values()] == [1, 1, 1]
    assert leases == 0
    assert worker.leases == dict[int, Lease]()


async def _taken_over(stage: Stage, me: Member, worker: Half, lost: Claimed, untold: Claimed) -> None:
    """A server that is gone had said that ``lost`` is settled, and the one that took over doesn't know; ``untold`` is
    settled, and nobody was told."""
    lost.lease.left -= 1

    def gone_after(op: Op[Any]) -> None:
        stage.settle([end(untold)], me)
        gone(op)

    worker.answers["settle"] = [gone_after]
    worker.settler.end(end(untold))
    await worker.settled()


async def test_an_end_of_unknown_outcome_hides_no_settlement_that_was_lost(db: Database) -> None:
    """Of a lease one job was settled and nobody was told, and one was said to be settled by a server that is lost: the
    one that took over has as many jobs in it as may not have ended, and not the same ones. The lease isn't dropped, and
    goes back. Red when the jobs are only counted."""
    stage = Stage(db)
    me, ids = stage.worker(), stage.enqueue(3)
    untold, lost, last = stage.claim(me)
    async with half(db, me, [last]) as worker:
        await _taken_over(stage, me, worker, lost, untold)
        worker.settler.end(end(last))
        await worker.settled()
        before = stage.places()
        await worker.recoverer.recover()
        await worker.settled()
        after = stage.places()
    stage.close()

    assert before == dict(zip(ids, ("history", "leased", "leased"), strict=True))
    assert after == dict(zip(ids, ("history", "ready", "ready"), strict=True))
    assert dict(+worker.settler.counts) == {"completed": 1, "stale": 1, "returned": 2}


async def test_a_lease_that_was_found_out_goes_back_though_it_looks_true_again(db: Database) -> None:
    """The settler has found that the server which took over lacks a settlement; then the handler of another job of that
    lease settles it there, by its own transaction, and as many jobs are left in it as the worker knows of. The lease
    goes back all the same [DW-30]. Red when the recovery only counts anew: the job whose settlement was lost would stay
    leased for as long as its worker lives."""
    stage = Stage(db)
    me, ids = stage.worker(), stage.enqueue(3)
    lost, untold, own = stage.claim(me)
    async with half(db, me, [lost]) as worker:
        await _taken_over(stage, me, worker, lost, untold)
        found_out = lost.lease.lost
        late = end(own)
        stage.main.run(complete_unheld(late))
        await worker.recoverer.recover()
        late.written = "yes"
        worker.settler.end(late)
        await worker.settled()
        places, leases = stage.places(), stage.counts("lease")
    stage.close()

    assert found_out
    assert places == dict(zip(ids, ("ready", "history", "history"), strict=True))
    assert leases == 0
    assert worker.leases == dict[int, Lease]()


async def test_a_new_incarnation_is_asked_for_again_when_the_server_is_lost_that_knew_it(db: Database) -> None:
    """Between a worker's new incarnation and the question for its leases its server is lost, and the one that takes
    over lacks the incarnation: the worker takes another one there, and claims. Red when the question alone is repeated:
    then it lives, beats and claims nothing."""
    stage = Stage(db)
    me = stage.worker()
    async with half(db, me, []) as worker:

        def taken_over(op: Op[Any]) -> None:
            stage.main.sql("update perdure.worker set incarnation = %s where id = %s", [me.incarnation, me.id])
            gone(op)

        worker.answers["leases"] = [taken_over]
        await worker.recoverer.recover()
        stage.enqueue()
        claimed = stage.claim(Member(me.id, worker.me.incarnation, {}))
    stage.close()

    assert len(claimed) == 1


async def test_what_goes_back_goes_back_once(db: Database) -> None:
    """A worker gives back a lease of which its server lacks what was settled, and must recover once more before that is
    settled: what must not run twice is reviewed all the same. Red when the second recovery takes the lease for a claim
    of which nothing has begun, and gives all of it back to be run."""
    stage = Stage(db)
    me, ids = stage.worker(), stage.enqueue() + stage.enqueue(at_most_once=True)
    jobs = stage.claim(me)
    async with half(db, me, jobs, settles=False) as worker:
        jobs[0].lease.left -= 1  # the one that must not run twice has ended, says the server that was lost
        await worker.recoverer.recover()
        await worker.recoverer.recover()
        worker.start()
        await worker.settled()
        places = stage.places()
    stage.close()

    assert places == dict(zip(ids, ("ready", "dead"), strict=True))
    assert dict(+worker.settler.counts) == {"returned": 1, "dead": 1}
    assert worker.leases == dict[int, Lease]()


async def test_a_recovery_drops_leases_without_jobs(db: Database) -> None:
    """A worker's lease has lost its last job, and what dropped it was lost with the server: it goes with the recovery,
    and doesn't stay for as long as its worker lives. Red when only leases with jobs are looked at."""
    stage = Stage(db)
    stage.enqueue()
    me = stage.worker()
    jobs = stage.claim(me)
    stage.settle([end(job) for job in jobs], me)
    async with half(db, me, []) as worker:
        before = stage.counts("lease")
        await worker.recoverer.recover()
        after = stage.counts("lease")
    stage.close()

    assert (before, after) == (1, 0)


async def test_who_begins_anew_settles_nothing_of_what_it_had(db: Database) -> None:
    """A worker that the server which took over knows nothing of begins anew, is given its old number, and claims its
    old job with the old lease's: the handler from before ends, and isn't taken for the one that runs now. Red when the
    leases of before are only forgotten."""
    stage = Stage(db)
    [id] = stage.enqueue()
    me = stage.worker()
    stage.main.begin()
    (old,) = stage.claim(me)
    stage.main.rollback()
    async with half(db, me, [old]) as worker:
        worker.settler.lose_all()
        stage.main.sql(f"alter table perdure.lease alter column id restart with {old.lease.id}")
        (new,) = stage.claim(Member(me.id, me.incarnation, {}))
        worker.leases[new.lease.id] = new.lease
        worker.settler.end(end(old))
        await worker.settled()
        before = stage.places()
        worker.settler.end(end(new))
        await worker.settled()
        after = stage.places()
    stage.close()

    assert (old.lease.id, old.generation) == (new.lease.id, new.generation)
    assert (before, after) == ({id: "leased"}, {id: "history"})
    assert dict(+worker.settler.counts) == {"stale": 1, "completed": 1}


async def test_what_a_handler_has_settled_while_another_is_noted_is_noted_too(db: Database) -> None:
    """A handler's own transaction settles its job while the lease of another one is being dropped: nothing is settled
    until its lease is dropped as well. Red when what comes meanwhile waits for the next end."""
    stage = Stage(db)
    stage.enqueue(2)
    me = stage.worker()
    jobs = stage.claim(me, 1) + stage.claim(me, 1)
    async with half(db, me, jobs) as worker:

        def settled(job: Claimed) -> None:
            written = end(job)
            stage.main.run(complete_unheld(written))
            written.written = "yes"
            worker.settler.end(written)

        def meanwhile(op: Op[Any]) -> Any:
            settled(jobs[1])
            return stage.main.run(op)

        worker.answers["drop_leases"] = [meanwhile]
        settled(jobs[0])
        await worker.settled()
        leases = stage.counts("lease")
    stage.close()

    assert leases == 0
    assert worker.settler.waiting == 0
