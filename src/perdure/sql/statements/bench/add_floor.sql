-- Does: the plain INSERT that one enqueue is compared with.
-- Locks: row exclusive on floor.
-- Index: floor by id.
-- Bound: one row.
insert into perdure.floor (id, payload) values (%(id)s::bigint, %(payload)s::json)
