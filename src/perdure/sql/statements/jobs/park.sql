-- Does: takes jobs nobody here can run out of a lease into held, under a reason and its key; no attempt is charged.
-- Locks: the job rows, in ascending id.
-- Index: job by id; lease by id.
-- Bound: the ids given. What isn't returned was stale.
with t as materialized (
    select * from unnest(%(ids)s::bigint[], %(leases)s::bigint[], %(reasons)s::text[], %(keys)s::text[])
         as t(id, lease, reason, key) order by id
), moved as (
    update perdure.job j
    set generation = j.generation + 1
    from t where j.id = t.id and j.id = any(%(ids)s::bigint[]) and j.generation = %(generation)s::int
    returning j.id, j.attempt, t.lease, t.reason, t.key
), parked as (
    insert into perdure.held (id, reason, key, held_at) select id, reason, key, statement_timestamp() from moved
), logged as (
    insert into perdure.attempt (job, ended_at, worker, lease, generation, attempt, ending, error)
    select id, statement_timestamp(), %(worker)s::int, lease, %(generation)s::int, attempt, 'held', reason
    from moved
), emptied as (
    delete from perdure.lease where id = any(%(emptied)s::bigint[])
)
select array_agg(id) as ids from moved
