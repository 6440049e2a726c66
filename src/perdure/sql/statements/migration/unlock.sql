-- Does: lets go of the session's migration lock.
-- Locks: none.
-- Index: none.
-- Bound: one row.
select pg_advisory_unlock(%(key)s::bigint);
