"""A settlement whose answer is lost while its transaction still holds the jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from perdure.core.errors import ConnectionLost, StatementTimeout
from perdure.jobs.loops.pacer import Pacer
from perdure.jobs.loops.settler import Settler
from perdure.jobs.ops.settle import settle
from perdure.jobs.work import Lease, Verdict
from perdure.pg.drive import drive
from perdure.pg.link import Link
from tests.conftest import Database
from tests.rooms.jobs.stage import Stage, end
from tests.rooms.worker.stage import until


async def test_what_commits_while_it_is_put_aside_is_not_called_stale(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A settlement is lost on the wire, and its transaction goes on holding the job, so that the repeated one gives up
    waiting and puts the end aside; then the first one commits. The end has been settled and isn't stale [DW-30]. Red
    when the doubt is forgotten with the end that is put aside."""
    stage = Stage(db)
    stage.enqueue(1)
    me = stage.worker()
    (job,) = stage.claim(me)
    lost = db.connect()
    link, leases = Link(db.url, db.schema, "settle"), {job.lease.id: job.lease}
    settler = Settler(link, lambda: me.id, leases, lambda: None, Pacer(link, lambda: me.id, 0))
    run = link.run

    async def sent_and_lost(op: Any) -> Any:
        op.close()
        lost.execute("begin")
        drive(lost, settle([end(job)], me.id, [job.lease.id]))
        monkeypatch.setattr(link, "run", run)
        raise ConnectionLost("the wire is cut")

    monkeypatch.setattr(link, "run", sent_and_lost)
    task = asyncio.create_task(settler.run())
    try:
        settler.end(end(job))
        await until(lambda: settler._blocked)
        lost.execute("commit")
        await asyncio.wait_for(settler.settled(), 30.0)
    finally:
        task.cancel()
        await link.close()
        stage.close()

    assert dict(+settler.counts) == {"completed": 1}
    assert leases == dict[int, Lease]()


async def test_the_doubt_about_a_settlement_goes_with_its_halves(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settlement has been carried out and its answer lost; sent again it runs into statement_timeout, and goes out in
    halves, which find nothing to settle. It was settled, and none of it is stale [DW-30]. Red when a half forgets that
    the whole had been sent."""
    stage = Stage(db)
    stage.enqueue(2)
    me = stage.worker()
    jobs = stage.claim(me)
    lost = db.connect()
    link, leases = Link(db.url, db.schema, "settle"), {jobs[0].lease.id: jobs[0].lease}
    settler = Settler(link, lambda: me.id, leases, lambda: None, Pacer(link, lambda: me.id, 0))
    run, answers = link.run, [ConnectionLost("the wire is cut"), StatementTimeout("too long", sqlstate="57014")]

    async def answered_badly(op: Any) -> Any:
        op.close()
        if len(answers) == 2:
            drive(lost, settle([end(job) for job in jobs], me.id, [jobs[0].lease.id]))
        if len(answers) == 1:
            monkeypatch.setattr(link, "run", run)
        raise answers.pop(0)

    monkeypatch.setattr(link, "run", answered_badly)
    task = asyncio.create_task(settler.run())
    try:
        for job in jobs:
            settler.end(end(job))
        await asyncio.wait_for(settler.settled(), 30.0)
    finally:
        task.cancel()
        await link.close()
        stage.close()

    assert dict(+settler.counts) == {"completed": 2}
    assert leases == dict[int, Lease]()


@pytest.mark.parametrize("verdict", ["completed", "retry", "returned"])
async def test_a_server_that_knows_nothing_of_the_claim_is_told_nothing_of_its_end(
    db: Database, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    """The server that was to settle a job is gone, and the one that took over lacks its claim: there the job is ready,
    under the generation that the end names, and another worker's lease has the number of the lost one. The end is
    stale, the job stands in one place and the other lease stays [DW-30]. Red when only the generation is asked for."""
    stage = Stage(db)
    [id] = stage.enqueue()
    me, other = stage.worker(), stage.worker("other")
    stage.main.begin()
    (job,) = stage.claim(me)
    stage.main.rollback()
    [mate] = stage.enqueue(priority=0)
    stage.main.sql(f"alter table perdure.lease alter column id restart with {job.lease.id}")
    stage.claim(other, 1)
    link, leases = Link(db.url, db.schema, "settle"), {job.lease.id: job.lease}
    settler = Settler(link, lambda: me.id, leases, lambda: None, Pacer(link, lambda: me.id, 0))
    run = link.run

    async def lost(op: Any) -> Any:
        op.close()
        monkeypatch.setattr(link, "run", run)
        raise ConnectionLost("the server is gone")

    monkeypatch.setattr(link, "run", lost)
    task = asyncio.create_task(settler.run())
    try:
        settler.end(end(job, verdict))
        await asyncio.wait_for(settler.settled(), 30.0)
    finally:
        task.cancel()
        await link.close()
    places = stage.places()
    stage.close()

    assert dict(+settler.counts) == {"stale": 1}
    assert places == {id: "ready", mate: "leased"}


@pytest.mark.parametrize("ends", ["while it is asked", "afterwards"])
async def test_what_ends_after_a_server_took_over_is_not_settled_by_its_generation(
    db: Database, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """A worker has two leases that the server which took over knows nothing of. One of its jobs is settled while the
    old one fails, which tells that; the other one ends meanwhile, or after it. Neither is settled, and each stands in
    one place [DW-30]. Red when the doubt goes with the flush that had met it: then the other one would stand in two."""
    stage = Stage(db)
    first, second = stage.enqueue(2)
    me = stage.worker()
    stage.main.begin()
    (job,) = stage.claim(me, 1)
    (later,) = stage.claim(me, 1)
    stage.main.rollback()
    link, leases = Link(db.url, db.schema, "settle"), {each.lease.id: each.lease for each in (job, later)}
    settler = Settler(link, lambda: me.id, leases, lambda: None, Pacer(link, lambda: me.id, 0))
    run = link.run

    async def lost(op: Any) -> Any:
        op.close()
        monkeypatch.setattr(link, "run", run)
        if ends == "while it is asked":
            settler.end(end(later, "retry"))
        raise ConnectionLost("the server is gone")

    monkeypatch.setattr(link, "run", lost)
    task = asyncio.create_task(settler.run())
    try:
        settler.end(end(job))
        await asyncio.wait_for(settler.settled(), 30.0)
        if ends == "afterwards":
            settler.end(end(later, "retry"))
            await asyncio.wait_for(settler.settled(), 30.0)
    finally:
        task.cancel()
        await link.close()
    places, standings = stage.places(), stage.standings()
    stage.close()

    assert dict(+settler.counts) == {"stale": 2}
    assert places == {first: "ready", second: "ready"}
    assert [len(found) for found in standings.values()] == [1, 1]
    assert leases == dict[int, Lease]()
