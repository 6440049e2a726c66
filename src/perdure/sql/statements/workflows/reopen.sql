-- Does: takes back the end of a run that goes on again.
-- Locks: the run's row.
-- Index: run by job.
-- Bound: one run.
update perdure.run set ended_at = null, failed_step = null, trouble = null, completed = null, told = null where job = %(run)s::bigint returning job
