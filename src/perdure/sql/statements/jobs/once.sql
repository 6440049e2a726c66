-- Does: notes that a handler has done something for a key, if it hasn't been noted before.
-- Locks: the row; one that an open transaction has just written is waited for.
-- Index: effect (handler, key).
-- Bound: one row. None returned: it was noted before.
insert into perdure.effect (handler, key, expires_at)
values (%(handler)s::text, %(key)s::text, clock_timestamp() + %(lifetime)s::float8 * interval '1 second')
on conflict (handler, key) do nothing
returning handler
