"""An end that Postgres refuses, and would refuse again: judged by itself, and not sent for ever."""

from __future__ import annotations

import asyncio

import pytest

from perdure.jobs.loops.pacer import Pacer
from perdure.jobs.loops.settler import Settler
from perdure.pg.link import Link
from tests.conftest import Database
from tests.rooms.jobs.stage import PATIENCE_SECONDS, Stage, end

JOBS = 16

REFUSE = """
create table bad (job bigint);
create sequence refused minvalue 0 start 0;
create function refuse() returns trigger language plpgsql as $$ begin
    if exists (select from bad where job = new.id) then
        perform nextval('refused');
        raise exception 'no such luck' using errcode = '22023';
    end if;
    return new;
end $$;
create trigger refuse before insert on perdure.history for each row execute function refuse()
"""
"""Counts what it refuses in a sequence, which a roll-back leaves alone."""

ALSO_DEAD = "create trigger refuse before insert on perdure.dead for each row execute function refuse()"


@pytest.mark.parametrize("dead_too", [False, True])
async def test_an_end_that_is_refused_for_good_is_judged_alone(db: Database, dead_too: bool) -> None:
    """Of the ends of one flush, Postgres refuses one, as it would each time: its mates are settled without it, by
    halves, and it is tried alone once, then dead as ``unsettleable`` with the error, at one attempt. If even that is
    refused it is given up, counted, and stays its worker's until it leaves. Red when such an error is repeated
    like a transient one: the settler comes to no end."""
    stage = Stage(db)
    stage.main.conn.execute(REFUSE)
    if dead_too:
        stage.main.conn.execute(ALSO_DEAD)
    bad = stage.enqueue(JOBS)[5]
    stage.main.conn.execute("insert into bad values (%s)", [bad])
    me = stage.worker()
    jobs = stage.claim(me)
    link, leases = Link(db.url, db.schema, "settle"), {jobs[0].lease.id: jobs[0].lease}
    settler = Settler(link, lambda: me.id, leases, lambda: None, Pacer(link, lambda: me.id, 0))
    task = asyncio.create_task(settler.run())
    try:
        for job in jobs:
            settler.end(end(job))
        await asyncio.wait_for(settler.settled(), PATIENCE_SECONDS)
    finally:
        task.cancel()
        await link.close()
    places = dict(stage.main.sql("select place, count(*) from perdure.jobs group by place"))
    refused = stage.main.sql("select last_value + 1 from refused")
    (of_bad,) = stage.main.sql("select place, reason, attempt, error from perdure.jobs where id = %s", [bad])
    stage.close()

    assert places == {"history": JOBS - 1, "leased" if dead_too else "dead": 1}
    assert dict(+settler.counts) == {"completed": JOBS - 1, "unsettleable" if dead_too else "dead": 1}
    assert refused == [(6 if dead_too else 5,)]  # 16, 8, 4, 2, 1, and the dead one
    if not dead_too:
        assert of_bad[:3] == ("dead", "unsettleable", 1)
        assert "its end can't be stored: " in of_bad[3]
        assert "no such luck" in of_bad[3]
