-- Does: says which transaction this is, null if it has written nothing, and since when its server has been up.
-- Locks: none.
-- Index: none.
-- Bound: one row.
select pg_current_xact_id_if_assigned()::text as xid, extract(epoch from pg_postmaster_start_time())::float8 as up_since
