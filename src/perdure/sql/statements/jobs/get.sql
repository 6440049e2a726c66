-- Does: one job, wherever it stands.
-- Locks: none.
-- Index: job and history by id.
-- Bound: one row.
select id, task, queue, key, place, reason, outcome, priority, attempt, rescues, generation, created_at, run_at, expires_at,
       started_at, finished_at, tags, options::text, error, payload::text, result::text, context::text
from perdure.jobs
where id = %(id)s::bigint limit 1
