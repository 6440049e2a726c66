-- Does: moves jobs that wait to ready, at new positions, whatever they wait for; which, and which wait and are locked by somebody.
-- Locks: the waiting rows, skipping locked ones; then the job rows, in ascending id.
-- Index: waiting and job by id.
-- Bound: the ids given; what isn't waiting is left alone.
with found as materialized (
    select id from perdure.waiting where id = any(%(ids)s::bigint[]) order by id for update skip locked
), gone as (
    delete from perdure.waiting where id = any(array(select id from found)) returning id
), bodies as materialized (
    select j.id from perdure.job j where j.id = any(array(select id from gone)) order by j.id for update
), drawn as materialized (
    select id, nextval('perdure.pos') as pos from bodies
), moved as (
    update perdure.job j set pos = d.pos from drawn d where j.id = d.id and j.id = any(array(select id from drawn)) returning j.lane, j.pos, j.id
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
)
select array_agg(id) as ids,
       (select array_agg(w.id) from perdure.waiting w where w.id = any(%(ids)s::bigint[]) and w.id not in (select id from found)) as locked,
       (select count(*) filter (where perdure.wake(queue)) from (select distinct lane / 4096 as queue from moved) s) as woken
from moved
