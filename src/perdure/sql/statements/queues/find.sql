-- Does: the ids of the named queues.
-- Locks: none.
-- Index: queue by name.
-- Bound: the names given.
select id, name from perdure.queue where name = any(%(names)s::text[])
