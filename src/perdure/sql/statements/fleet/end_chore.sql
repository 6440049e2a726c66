-- Does: notes that a chore was done, and when it is due again (null: when there is something to do); failures in a row are over, and a bound that was halved is doubled.
-- Locks: the chore's row.
-- Index: chore by name.
-- Bound: one row.
insert into perdure.chore as c (name, last_success_at, due_at)
values (%(chore)s::text, clock_timestamp(), clock_timestamp() + %(due_in)s::float8 * interval '1 second')
on conflict (name) do update
set running_on = null, last_success_at = excluded.last_success_at, due_at = excluded.due_at, consecutive_failures = 0,
    parked_until = null, batch = case when c.batch * 2 < %(batch)s::int then c.batch * 2 end
returning c.name
