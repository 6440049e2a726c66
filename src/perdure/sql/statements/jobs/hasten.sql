-- Does: lets time pass for what is due later: it is due so much sooner, but not before now.
-- Locks: the scheduled and the job rows.
-- Index: whole of scheduled; job by id.
-- Bound: what is scheduled; it is for tests.
with sooner as (
    update perdure.scheduled s set run_at = greatest(s.run_at - %(seconds)s::float8 * interval '1 second', clock_timestamp())
    where s.run_at < timestamptz '9000-01-01 00:00:00+00'
    returning s.run_at, s.id
), moved as (
    update perdure.job j set run_at = s.run_at from sooner s where j.id = s.id returning j.lane
)
select count(*) as jobs, count(*) filter (where perdure.wake(lane / 4096)) as woken from moved
