-- Does: makes one scheduled job due at once: to ready, at a new position.
-- Locks: the job row (by jobs.unseat before), the scheduled row, skipping a locked one: whoever promotes it waits for our job row.
-- Index: scheduled (run_at, id); job by id.
-- Bound: one job.
with gone as (
    delete from perdure.scheduled s where s.ctid = any(array(
        select x.ctid from perdure.scheduled x
        where x.run_at = (select j.run_at from perdure.job j where j.id = %(id)s::bigint) and x.id = %(id)s::bigint
        for update skip locked)) returning s.id
), moved as (
    update perdure.job j set pos = nextval('perdure.pos') from gone where j.id = %(id)s::bigint returning j.id, j.lane, j.pos
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
)
select id, perdure.wake(lane / 4096) as woken from moved
