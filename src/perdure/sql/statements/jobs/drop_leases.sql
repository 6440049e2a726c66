-- Does: drops leases whose last job was settled by a transaction of its handler.
-- Locks: the lease rows.
-- Index: lease by id.
-- Bound: the ids given.
delete from perdure.lease where id = any(%(ids)s::bigint[]) returning id
