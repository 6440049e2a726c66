-- Does: removes the schema of a benchmark with everything in it; its only sender refuses any other schema.
-- Locks: access exclusive on all of it.
-- Index: none.
-- Bound: one schema.
drop schema if exists perdure cascade
