-- Does: when each session that works in this schema was last asked something; looked at often enough, it counts statements.
-- Locks: none.
-- Index: none.
-- Bound: the sessions of the server.
select pid, extract(epoch from query_start)::float8 as asked_at from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and position('perdure' in query) > 0
