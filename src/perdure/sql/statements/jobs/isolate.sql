-- Does: takes suspects that remain suspects out of a lease: later those that no child was free for (charge 0), and those whose child died under them (charge 1), which go to the dead when they have no attempt left or that has happened too often.
-- Locks: the job rows, in ascending id.
-- Index: job by id; lease by id.
-- Bound: the ids given. What isn't returned was stale.
with t as materialized (
    select * from unnest(%(ids)s::bigint[], %(leases)s::bigint[], %(elapsed)s::float8[], %(delays)s::float8[], %(errors)s::text[],
                         %(last)s::boolean[]) as t(id, lease, elapsed, delay, error, last) order by id
), moved as (
    update perdure.job j
    set generation = j.generation + 1, attempt = j.attempt + %(charge)s::int, crashes = coalesce(j.crashes, 0) + %(charge)s::int,
        run_at = clock_timestamp() + greatest(t.delay, 0) * interval '1 second'
    from t where j.id = t.id and j.id = any(%(ids)s::bigint[]) and j.generation = %(generation)s::int
    returning j.id, j.run_at, j.attempt, j.lane, t.lease, t.elapsed, t.delay, t.last or j.crashes >= %(crashes_max)s::int as over,
              t.error || case when %(charge)s::int = 0 then '' else E'\ncrash ' || j.crashes || ' of ' || %(crashes_max)s::int end as error
), later as (
    insert into perdure.scheduled (run_at, id) select run_at, id from moved where not over
), buried as (
    insert into perdure.dead (id, reason, error, died_at)
    select id, 'worker_lost', error, statement_timestamp() from moved where over
), logged as (
    insert into perdure.attempt (job, ended_at, started_at, worker, lease, generation, attempt, ending, error)
    select id, statement_timestamp(), statement_timestamp() - elapsed * interval '1 second', %(worker)s::int, lease,
           %(generation)s::int, attempt, case when over then 'dead' when %(charge)s::int = 0 then 'returned' else 'retry' end, error
    from moved
), emptied as (
    delete from perdure.lease where id = any(%(emptied)s::bigint[])
)
select array_agg(id) as ids,
       (select count(*) filter (where perdure.wake(queue))
        from (select distinct lane / 4096 as queue from moved where delay < 2 and not over) s) as woken
from moved
