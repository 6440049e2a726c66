-- Does: lets time pass for runs that live: their clocks go ahead, and those that wait until a moment wait less long.
-- Locks: the run and the waiting rows.
-- Index: run_id, or run by job; waiting by id.
-- Bound: the live runs; it is for tests.
with ahead as (
    update perdure.run r set skew = skew + %(seconds)s::float8 * interval '1 second'
    where (%(id)s::text is null or r.id = %(id)s::text) and not r.superseded
      and exists (select from perdure.job j where j.id = r.job)
    returning r.job
), sooner as (
    update perdure.waiting w
    set wake_at = greatest(w.wake_at - %(seconds)s::float8 * interval '1 second', clock_timestamp())
    from ahead where w.id = ahead.job and w.wake_at is not null
    returning w.id
), woken as (
    select perdure.wake(j.lane / 4096) from perdure.job j join sooner on sooner.id = j.id
)
select (select count(*) from ahead) as runs, (select count(*) from woken) as woken
