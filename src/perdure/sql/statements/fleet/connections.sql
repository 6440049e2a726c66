-- Does: how many sessions the server allows others than superusers, and what the living workers may ask of it.
-- Locks: none.
-- Index: worker_living.
-- Bound: one row.
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true)::int, 0) as allowed,
       count(*)::int as workers, coalesce(sum(w.slots), 0)::int as slots
from perdure.worker w where w.state in ('alive', 'draining')
