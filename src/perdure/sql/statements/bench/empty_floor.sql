-- Does: the floor's half of a drain: takes the plain rows out again.
-- Locks: the rows deleted.
-- Index: floor by id.
-- Bound: the ids given.
delete from perdure.floor where id = any(%(ids)s::bigint[])
