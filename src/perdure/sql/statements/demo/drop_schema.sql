-- Does: removes what an earlier demonstration left; its only sender is on the demonstration's own schema.
-- Locks: access exclusive on all of it.
-- Index: none.
-- Bound: one schema.
drop schema if exists perdure cascade
