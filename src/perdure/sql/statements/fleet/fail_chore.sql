-- Does: notes that a chore failed, why, and when it may be tried again: later each time, and from `failures_max` in a row on parked, if it is one that may be (`parked_seconds`); with `charge` 0 it was only put off. `halves`: one run does half as much from now as it did, or as this.
-- Locks: the chore's row.
-- Index: chore by name.
-- Bound: one row.
insert into perdure.chore as c (name, last_failure_at, last_error, consecutive_failures, due_at, batch)
values (%(chore)s::text, clock_timestamp(), %(error)s::text, %(charge)s::int,
        clock_timestamp() + %(pause)s::float8 * interval '1 second', case when %(halves)s::int is not null then greatest(%(halves)s::int / 2, 1) end)
on conflict (name) do update
set running_on = null, last_failure_at = excluded.last_failure_at, last_error = excluded.last_error,
    consecutive_failures = c.consecutive_failures + excluded.consecutive_failures,
    batch = case when %(halves)s::int is not null then greatest(coalesce(c.batch, %(halves)s::int) / 2, 1) else c.batch end,
    parked_until = case when %(charge)s::int > 0 and c.consecutive_failures + 1 >= %(failures_max)s::int
                        then clock_timestamp() + %(parked_seconds)s::float8 * interval '1 second' else c.parked_until end,
    due_at = clock_timestamp() + case
        when %(charge)s::int = 0 then %(pause)s::float8
        when c.consecutive_failures + 1 >= %(failures_max)s::int and %(parked_seconds)s::float8 is not null then %(parked_seconds)s::float8
        else least(%(pause)s::float8 * power(2, least(c.consecutive_failures, 30)), %(pause_max)s::float8) end * interval '1 second'
returning c.consecutive_failures as failures, c.parked_until is not null and c.parked_until > clock_timestamp() as parked,
          extract(epoch from c.due_at - clock_timestamp())::float8 as due_in
