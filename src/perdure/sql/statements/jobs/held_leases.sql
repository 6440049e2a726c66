-- Does: which of these leases a worker still has: the answer to whether the server that answers now is the one that gave them.
-- Locks: none.
-- Index: lease by id.
-- Bound: the ids given.
select id from perdure.lease where id = any(%(ids)s::bigint[]) and worker = %(worker)s::int
