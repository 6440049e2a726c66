-- Does: makes one scheduled job due at once: to ready, at a new position.
-- Locks: the job row (by jobs.unseat before), the scheduled row, skipping a locked one: whoever promotes it waits for our job row.
-- Index: scheduled (run_at, id); job by id.
-- Bound: one job.
with gone as (
    delete from perdure.scheduled s using (
        select x.run_at, x.id from perdure.scheduled x join perdure.job j on x.run_at = j.run_at and x.id = j.id
        where j.id = %(id)s::bigint for update of x skip locked) l
    where s.run_at = l.run_at and s.id = l.id returning s.id
), moved as (
    update perdure.job j set pos = nextval('perdure.pos') from gone where j.id = gone.id returning j.id, j.lane, j.pos
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
)
select id, perdure.wake(lane / 4096) as woken from moved
