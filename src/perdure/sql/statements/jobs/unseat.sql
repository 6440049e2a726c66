-- Does: the body of one job locked, for a cancel, a retry or a pause: where it may stand, and its generation.
-- Locks: the job row.
-- Index: job by id.
-- Bound: one row.
select j.id, j.lane, j.pos, j.run_at, j.generation from perdure.job j where j.id = %(id)s::bigint for update
