-- Does: makes the schema, unless it is there.
-- Locks: the catalogue row; the caller holds the migration lock, so two don't meet here.
-- Index: the catalogue's own.
-- Bound: one schema.
create schema if not exists perdure;
