-- Does: notes that runs have ended, or given up, and of those that another one has started what came of it; the parents that may wait for them.
-- Locks: the run rows.
-- Index: run by job; history and dead by id, of children.
-- Bound: the ids given.
with ended as (
    update perdure.run r
    set ended_at = clock_timestamp(), failed_step = t.failed_step, completed = t.completed,
        told = case when r.parent is not null then
            coalesce((select json_build_array(h.outcome, h.result, h.error) from perdure.history h where h.id = r.job
                      order by h.finished_at desc limit 1),
                     (select json_build_array('failed', null, d.error) from perdure.dead d where d.id = r.job)) end
    from unnest(%(ids)s::bigint[], %(failed_steps)s::text[], %(completed)s::boolean[]) as t(job, failed_step, completed)
    where r.job = t.job and r.job = any(%(ids)s::bigint[])
    returning r.parent
)
select distinct parent from ended where parent is not null order by parent
