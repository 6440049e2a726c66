-- Does: takes the id away from a run that is over, so that its parent can start it anew.
-- Locks: the run's row.
-- Index: run by job.
-- Bound: one run.
update perdure.run set superseded = true where job = %(run)s::bigint and superseded is distinct from true returning job
