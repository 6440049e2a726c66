-- Does: says what became of a transaction (committed, aborted, in progress, null when it is too long ago), on the server that ran it; on any other one, nothing.
-- Locks: none.
-- Index: none.
-- Bound: one row.
select case when extract(epoch from pg_postmaster_start_time())::float8 = %(up_since)s::float8
            then pg_xact_status(%(xid)s::text::xid8) end as status
