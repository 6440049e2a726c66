-- Does: takes jobs out of a lease into waiting, until something wakes them or their moment comes: new generation, into the attempt log, no attempt charged.
-- Locks: the job rows, in ascending id.
-- Index: job by id; lease by id.
-- Bound: the ids given. What isn't returned was stale.
with t as materialized (
    select * from unnest(%(ids)s::bigint[], %(leases)s::bigint[], %(elapsed)s::float8[], %(wake_ats)s::timestamptz[])
         as t(id, lease, elapsed, wake_at) order by id
), moved as (
    update perdure.job j
    set generation = j.generation + 1, rescues = 0
    from t where j.id = t.id and j.id = any(%(ids)s::bigint[]) and j.generation = %(generation)s::int
    returning j.id, j.lane, j.attempt, t.lease, t.elapsed, t.wake_at
), waits as (
    insert into perdure.waiting (id, wake_at)
    select id, case when wake_at is not null then greatest(wake_at, clock_timestamp()) end from moved
), logged as (
    insert into perdure.attempt (job, ended_at, started_at, worker, lease, generation, attempt, ending)
    select id, statement_timestamp(), statement_timestamp() - elapsed * interval '1 second', %(worker)s::int, lease,
           %(generation)s::int, attempt, 'waiting'
    from moved
), emptied as (
    delete from perdure.lease where id = any(%(emptied)s::bigint[])
)
select array_agg(id) as ids,
       (select count(*) filter (where perdure.wake(queue)) from (
           select distinct lane / 4096 as queue from moved where wake_at < statement_timestamp() + interval '2 seconds') s) as woken
from moved
