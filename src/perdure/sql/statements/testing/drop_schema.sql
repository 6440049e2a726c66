-- Does: removes a test's schema with everything in it; its only sender has made it.
-- Locks: access exclusive on all of it.
-- Index: none.
-- Bound: one schema.
drop schema if exists perdure cascade
