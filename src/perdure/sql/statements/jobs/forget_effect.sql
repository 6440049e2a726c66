-- Does: forgets what a handler has done for a key when that was too long ago.
-- Locks: the row.
-- Index: effect (handler, key).
-- Bound: one row.
delete from perdure.effect where handler = %(handler)s::text and key = %(key)s::text and expires_at <= clock_timestamp()
returning handler
