-- Does: says who stands in the way of a session that waits for a lock, oldest transaction first; a prepared transaction has the pid 0.
-- Locks: none.
-- Index: none.
-- Bound: the sessions of the server.
select b.pid, coalesce(nullif(a.application_name, ''), 'no application name') as application, coalesce(a.state, 'state hidden') as state,
       extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds
from unnest(pg_blocking_pids(%(pid)s::int)) as b(pid)
left join pg_stat_activity a on a.pid = b.pid
order by a.xact_start nulls last
