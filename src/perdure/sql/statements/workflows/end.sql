-- Does: notes that runs have ended, or given up; the parents that may wait for them.
-- Locks: the run rows.
-- Index: run by job.
-- Bound: the ids given.
with ended as (
    update perdure.run r set ended_at = clock_timestamp(), failed_step = t.failed_step
    from unnest(%(ids)s::bigint[], %(failed_steps)s::text[]) as t(job, failed_step) where r.job = t.job and r.job = any(%(ids)s::bigint[])
    returning r.parent
)
select distinct parent from ended where parent is not null order by parent
