-- Does: takes the id away from a run, so that another can have it.
-- Locks: the run's row.
-- Index: run_id.
-- Bound: one run.
update perdure.run set superseded = true where id = %(id)s::text and not superseded returning job
