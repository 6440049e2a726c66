-- Does: signs a worker off; what it still holds, if anything, is open to rescue at once. `cause`: why its run wasn't a clean one.
-- Locks: the worker's row.
-- Index: worker by id.
-- Bound: one row.
update perdure.worker set state = 'left', ended_at = clock_timestamp(), cause = %(cause)s::text
where id = %(worker)s::int and state in ('alive', 'draining') returning id
