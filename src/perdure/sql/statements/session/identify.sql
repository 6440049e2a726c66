-- Does: says which process of which server answers, and for which database: behind a pooler it is another one than the session was given.
-- Locks: none.
-- Index: none.
-- Bound: one row.
select pg_backend_pid() as pid, current_database() as database, extract(epoch from pg_postmaster_start_time())::float8 as up_since
