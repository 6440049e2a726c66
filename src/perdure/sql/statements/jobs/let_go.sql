-- Does: returns one job that was parked for one of these reasons to ready, at a new position.
-- Locks: the held row, skipping a locked one; then the job's.
-- Index: held and job by id.
-- Bound: one job.
with gone as (
    delete from perdure.held h where h.id = any(array(
        select x.id from perdure.held x where x.id = %(id)s::bigint and x.reason = any(%(reasons)s::text[])
        for update skip locked)) returning h.id
), body as materialized (
    select j.id from perdure.job j join gone g on g.id = j.id where j.id = %(id)s::bigint for update of j
), moved as (
    update perdure.job j set pos = nextval('perdure.pos') from body b where j.id = %(id)s::bigint returning j.id, j.lane, j.pos
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
)
select id, perdure.wake(lane / 4096) as woken from moved
