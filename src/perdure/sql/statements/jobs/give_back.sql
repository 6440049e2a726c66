-- Does: returns unstarted or drained jobs from a lease to ready, at a new position, with no attempt charged.
-- Locks: the job rows, in ascending id.
-- Index: job by id; lease by id.
-- Bound: the ids given. What isn't returned was stale.
with t as materialized (
    select * from unnest(%(ids)s::bigint[], %(leases)s::bigint[], %(elapsed)s::float8[]) as t(id, lease, elapsed)
), mine as materialized (
    select j.id, t.lease, t.elapsed from perdure.job j join t on t.id = j.id
    where j.id = any(%(ids)s::bigint[]) and j.generation = %(generation)s::int order by j.id for update of j
), drawn as materialized (
    select mine.*, nextval('perdure.pos') as pos from mine
), moved as (
    update perdure.job j
    set generation = j.generation + 1, pos = drawn.pos
    from drawn where j.id = drawn.id and j.id = any(array(select id from drawn))
    returning j.id, j.lane, j.pos, j.attempt, drawn.lease, drawn.elapsed
), arrivals as (
    insert into perdure.ready (lane, pos, id) select lane, pos, id from moved
), logged as (
    insert into perdure.attempt (job, ended_at, started_at, worker, lease, generation, attempt, ending, error)
    select id, statement_timestamp(), statement_timestamp() - elapsed * interval '1 second', %(worker)s::int, lease,
           %(generation)s::int, attempt, 'returned', %(reason)s::text
    from moved
), emptied as (
    delete from perdure.lease where id = any(%(emptied)s::bigint[])
)
select array_agg(id) as ids,
       (select count(*) filter (where perdure.wake(queue)) from (select distinct lane / 4096 as queue from moved) s) as woken
from moved
