-- Does: counts the sessions that a worker still has with the server, by the worker's name.
-- Locks: none.
-- Index: none; pg_stat_activity is a function.
-- Bound: max_connections rows.
select count(*) as open from pg_stat_activity
where datname = current_database() and split_part(application_name, ' ', 2) = %(name)s::text
