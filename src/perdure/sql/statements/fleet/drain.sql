-- Does: says a worker claims no more; its leases stay its own.
-- Locks: the worker's row for update, so that it waits for a claim in flight.
-- Index: worker by id.
-- Bound: one row.
with mine as materialized (
    select id from perdure.worker where id = %(worker)s::int and state = 'alive' for update
)
update perdure.worker w set state = 'draining' from mine where w.id = mine.id returning w.id
