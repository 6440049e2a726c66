-- Does: writes what a run says about itself, if it still is the generation that was claimed.
-- Locks: the job row for share, then the run's row.
-- Index: job by id; run by job.
-- Bound: one run.
with fenced as materialized (
    select j.id from perdure.job j where j.id = %(run)s::bigint and j.generation = %(generation)s::int for share
)
update perdure.run r set attributes = %(attributes)s::text::json from fenced f where r.job = %(run)s::bigint
