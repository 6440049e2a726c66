-- Does: the present generations of live jobs.
-- Locks: none.
-- Index: job by id.
-- Bound: the ids given.
select id, generation from perdure.job where id = any(%(ids)s::bigint[])
