-- Does: takes jobs out of a lease alive, to run again after a delay (retry, snooze): new generation, into scheduled, into the attempt log.
-- Locks: the job rows, in ascending id.
-- Index: job by id; lease by id.
-- Bound: the ids given. What isn't returned was stale.
with t as materialized (
    select * from unnest(%(ids)s::bigint[], %(leases)s::bigint[], %(elapsed)s::float8[], %(delays)s::float8[], %(errors)s::text[])
         as t(id, lease, elapsed, delay, error) order by id
), moved as (
    update perdure.job j
    set generation = j.generation + 1, attempt = j.attempt + %(charge)s::int, rescues = 0,
        run_at = clock_timestamp() + greatest(t.delay, 0) * interval '1 second'
    from t where j.id = t.id and j.id = any(%(ids)s::bigint[]) and j.generation = %(generation)s::int
    returning j.id, j.run_at, j.attempt, j.lane, t.lease, t.elapsed, t.delay, t.error
), later as (
    insert into perdure.scheduled (run_at, id) select run_at, id from moved
), logged as (
    insert into perdure.attempt (job, ended_at, started_at, worker, lease, generation, attempt, ending, error)
    select id, statement_timestamp(), statement_timestamp() - elapsed * interval '1 second', %(worker)s::int, lease,
           %(generation)s::int, attempt, %(ending)s::text, error
    from moved
), emptied as (
    delete from perdure.lease where id = any(%(emptied)s::bigint[])
)
select array_agg(id) as ids,
       (select count(*) filter (where perdure.wake(queue)) from (select distinct lane / 4096 as queue from moved where delay < 2) s) as woken
from moved
