-- Does: returns a parked run to ready, at a new position.
-- Locks: the held row, then the job's.
-- Index: held and job by id.
-- Bound: one job.
with gone as (
    delete from perdure.held where id = %(run)s::bigint returning id
), moved as (
    update perdure.job j set pos = nextval('perdure.pos') from gone g where j.id = %(run)s::bigint returning j.id, j.lane, j.pos
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
)
select id, perdure.wake(lane / 4096) as woken from moved
