-- Does: forgets the checkpoints and reports of jobs that are ending for good, in the transaction that ends them.
-- Locks: the rows of the two side tables.
-- Index: checkpoint and progress by job.
-- Bound: the ids given.
with saved as (
    delete from perdure.checkpoint where job = any(%(ids)s::bigint[]) returning job
), reported as (
    delete from perdure.progress where job = any(%(ids)s::bigint[]) returning job
)
select (select count(*) from saved) + (select count(*) from reported) as forgotten
