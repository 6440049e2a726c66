-- Does: returns parked jobs of some reasons to ready, for the keys a worker now knows.
-- Locks: the held rows, skipping locked ones; then the job rows, in ascending id.
-- Index: held (reason, key, id); job by id.
-- Bound: `limit` rows.
with freed as materialized (
    select h.id from unnest(%(reasons)s::text[]) as r(reason) cross join unnest(%(keys)s::text[]) as k(key)
    cross join lateral (
        select id from perdure.held where reason = r.reason and key = k.key
        order by id limit %(limit)s::int for update skip locked
    ) h
    limit %(limit)s::int
), gone as (
    delete from perdure.held h where h.id = any(array(select id from freed)) returning h.id
), bodies as materialized (
    select j.id from perdure.job j where j.id = any(array(select id from gone)) order by j.id for update
), drawn as materialized (
    select id, nextval('perdure.pos') as pos from bodies
), moved as (
    update perdure.job j set pos = d.pos from drawn d where j.id = d.id and j.id = any(array(select id from drawn)) returning j.lane, j.pos, j.id
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
)
select (select count(*) from moved) as released,
       (select count(*) filter (where perdure.wake(queue)) from (select distinct lane / 4096 as queue from moved) s) as woken
