-- Does: notes that a machine is declared, or declared anew.
-- Locks: its row.
-- Index: machine by name.
-- Bound: one row.
insert into perdure.machine (name, initial) values (%(machine)s::text, %(initial)s::text)
on conflict (name) do update set initial = excluded.initial, declared_at = clock_timestamp()
returning name
