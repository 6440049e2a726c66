-- Does: takes jobs out of a lease to the dead, body and last error kept: new generation, into the attempt log.
-- Locks: the job rows, in ascending id.
-- Index: job by id; lease by id.
-- Bound: the ids given. What isn't returned was stale.
with t as materialized (
    select * from unnest(%(ids)s::bigint[], %(leases)s::bigint[], %(elapsed)s::float8[], %(reasons)s::text[], %(errors)s::text[])
         as t(id, lease, elapsed, reason, error) order by id
), moved as (
    update perdure.job j
    set generation = j.generation + 1, attempt = j.attempt + %(charge)s::int, rescues = 0
    from t where j.id = t.id and j.id = any(%(ids)s::bigint[]) and j.generation = %(generation)s::int
    returning j.id, j.attempt, t.lease, t.elapsed, t.reason, t.error
), buried as (
    insert into perdure.dead (id, reason, error, died_at) select id, reason, error, statement_timestamp() from moved
), logged as (
    insert into perdure.attempt (job, ended_at, started_at, worker, lease, generation, attempt, ending, error)
    select id, statement_timestamp(), statement_timestamp() - elapsed * interval '1 second', %(worker)s::int, lease,
           %(generation)s::int, attempt, 'dead', error
    from moved
), emptied as (
    delete from perdure.lease where id = any(%(emptied)s::bigint[])
)
select array_agg(id) as ids from moved
