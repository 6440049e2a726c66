-- Does: says that a run isn't to go on, from its next step.
-- Locks: the run's row.
-- Index: run by job.
-- Bound: one run.
update perdure.run set paused_at = coalesce(paused_at, clock_timestamp()) where job = %(run)s::bigint returning job
