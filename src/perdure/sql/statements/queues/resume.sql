-- Does: lets a paused queue be claimed from again, and wakes its sleepers.
-- Locks: the queue's row.
-- Index: queue by name.
-- Bound: one row.
update perdure.queue set paused_at = null where name = %(name)s::text returning id, name, perdure.wake(id) as woken
