-- Does: takes the demonstration for this session; false while another one runs on this database.
-- Locks: one advisory lock, held by the session.
-- Index: none.
-- Bound: one row; it never waits.
select pg_try_advisory_lock(hashtext('the demonstration'), 0) as alone
