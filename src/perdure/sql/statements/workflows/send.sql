-- Does: puts a message into a run's inbox, unless one of the same name and key is there or was; its id, none for a duplicate.
-- Locks: row exclusive on signal; waits for a transaction that sends the same key.
-- Index: signal_key.
-- Bound: one row.
insert into perdure.signal (run, name, key, payload, "update")
values (%(run)s::bigint, %(name)s::text, %(key)s::text, %(payload)s::text::json, %(update)s::boolean)
on conflict (run, name, key) where key is not null do nothing
returning id
