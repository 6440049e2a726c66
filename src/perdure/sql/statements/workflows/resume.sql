-- Does: says that a run may go on again, and forgets why it was parked.
-- Locks: the run's row.
-- Index: run by job.
-- Bound: one run.
update perdure.run set paused_at = null, trouble = null where job = %(run)s::bigint returning job
