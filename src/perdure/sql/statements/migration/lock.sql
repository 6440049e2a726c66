-- Does: tries to take the session's migration lock of this schema. It doesn't wait: a session that waits inside a
--       statement holds a snapshot, which the migration in progress may itself have to wait for.
-- Locks: the advisory lock, until `migration.unlock` or the end of the session.
-- Index: none.
-- Bound: one row.
select pg_try_advisory_lock(%(key)s::bigint) as taken;
