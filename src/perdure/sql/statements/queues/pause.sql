-- Does: stops claims from a queue; what is leased goes on.
-- Locks: the queue's row.
-- Index: queue by name.
-- Bound: one row.
update perdure.queue set paused_at = coalesce(paused_at, clock_timestamp()) where name = %(name)s::text returning id, name
