-- Does: declares dead a worker that fleet.expired has locked in this transaction, if its beat is still run out.
-- Locks: the worker's row.
-- Index: worker by id.
-- Bound: one row.
update perdure.worker set state = 'dead', ended_at = clock_timestamp()
where id = %(worker)s::int and state in ('alive', 'draining') and expires_at < clock_timestamp()
returning id, name
