-- Does: writes what a run says about itself, if it still is the generation that was claimed. What it said when it began stays, as a mark of number 0: a replay begins with that.
-- Locks: the job row for share, then the run's row; the mark, the first time.
-- Index: job by id; run by job; step by run and name.
-- Bound: one run.
with fenced as materialized (
    select j.id from perdure.job j where j.id = %(run)s::bigint and j.generation = %(generation)s::int for share
), began as (
    insert into perdure.step (run, name, seq, kind, state, attempt, ended_at, outcome)
    select r.job, '#0', 0, 'patch', 'done', 0, r.created_at, r.attributes
    from perdure.run r join fenced f on f.id = r.job where r.job = %(run)s::bigint
    on conflict (run, name) do nothing
)
update perdure.run r set attributes = %(attributes)s::text::json from fenced f where r.job = %(run)s::bigint
