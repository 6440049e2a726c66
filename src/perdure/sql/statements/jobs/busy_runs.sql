-- Does: those of the jobs that are runs whose row another transaction has locked: their end couldn't be noted without waiting.
-- Locks: the rows of the other runs, in ascending id, skipping locked ones.
-- Index: run by job.
-- Bound: the ids given.
with free as materialized (
    select r.job from perdure.run r where r.job = any(%(ids)s::bigint[]) order by r.job for no key update skip locked
)
select r.job from perdure.run r where r.job = any(%(ids)s::bigint[]) and r.job not in (select job from free)
