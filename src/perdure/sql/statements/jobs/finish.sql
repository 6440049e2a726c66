-- Does: moves the bodies of jobs that ended for good to history, if they are still the generation that was claimed, and drops leases whose last job this was.
-- Locks: the job rows, in ascending id.
-- Index: job by id; lease by id.
-- Bound: the ids given; results or errors may be empty, for none of them. What isn't returned was stale.
with ended as materialized (
    delete from perdure.job j where j.id = any(%(ids)s::bigint[]) and j.generation = %(generation)s::int
    returning j.id, j.created_at, j.lane, j.generation, j.attempt, j.rescues, j.task, j.key, j.tags, j.options, j.context, j.payload
), filed as (
    insert into perdure.history (id, created_at, started_at, finished_at, lease, lane, generation, attempt, rescues, outcome,
                                 task, key, tags, options, context, error, result, payload)
    select e.id, e.created_at, statement_timestamp() - t.elapsed * interval '1 second', statement_timestamp(), t.lease,
           e.lane, e.generation, e.attempt + %(charge)s::int, e.rescues, %(outcome)s::text, e.task, e.key, e.tags, e.options, e.context,
           case when %(outcome)s::text = 'cancelled'
                then coalesce((select c.reason from perdure.cancel_request c where c.id = e.id), t.error) else t.error end,
           t.result::json, e.payload
    from ended e
    join unnest(%(ids)s::bigint[], %(leases)s::bigint[], %(elapsed)s::float8[], %(results)s::text[], %(errors)s::text[])
         as t(id, lease, elapsed, result, error) on t.id = e.id
), forgotten as (
    delete from perdure.cancel_request where %(outcome)s::text = 'cancelled' and id in (select id from ended)
), emptied as (
    delete from perdure.lease where id = any(%(emptied)s::bigint[])
)
select array_agg(id) as ids from ended
