-- Does: says a worker claims no more; its leases stay its own.
-- Locks: the worker's row for update, so that it waits for a claim in flight.
-- Index: worker by id.
-- Bound: one row.
update perdure.worker set state = 'draining' where id = %(worker)s::int and state = 'alive' returning id
