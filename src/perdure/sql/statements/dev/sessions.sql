-- Does: counts the sessions of others on this server, in whatever database.
-- Locks: none.
-- Index: none; pg_stat_activity is a function.
-- Bound: max_connections rows.
select count(*) as others from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
