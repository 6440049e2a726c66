-- Does: makes the plain table that the floor is measured on: what any queue in Postgres must at least write.
-- Locks: the new table.
-- Index: none yet.
-- Bound: one table.
create table if not exists perdure.floor (id bigint primary key, payload json not null)
