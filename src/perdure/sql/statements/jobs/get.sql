-- Does: one job, wherever it stands.
-- Locks: none.
-- Index: job and history by id.
-- Bound: one row.
select * from perdure.jobs where id = %(id)s::bigint limit 1
