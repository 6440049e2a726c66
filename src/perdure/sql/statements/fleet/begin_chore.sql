-- Does: notes that this worker begins a chore that is due, and that nobody has begun since it was looked at: no row otherwise.
-- Locks: the chore's row, which shows its newest version.
-- Index: chore by name.
-- Bound: one row.
insert into perdure.chore as c (name, running_on, last_started_at, period)
values (%(chore)s::text, %(worker)s::int, clock_timestamp(), %(period)s::float8 * interval '1 second')
on conflict (name) do update set running_on = excluded.running_on, last_started_at = excluded.last_started_at, period = excluded.period
where (c.due_at is null or c.due_at <= clock_timestamp()) and c.running_on is not distinct from %(seen)s::int
returning c.name
