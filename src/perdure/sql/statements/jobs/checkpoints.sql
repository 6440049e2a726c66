-- Does: what jobs have saved, those that have.
-- Locks: none.
-- Index: checkpoint by job.
-- Bound: the ids given.
select job, generation, version, value::text as value, saved_at, advanced_in from perdure.checkpoint where job = any(%(ids)s::bigint[])
