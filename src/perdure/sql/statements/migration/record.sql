-- Does: notes that a migration was applied, in the transaction that applies it.
-- Locks: its own new row.
-- Index: migration_pkey, which refuses the same number twice.
-- Bound: one row.
insert into perdure.migration (number, phase, name, checksum)
values (%(number)s::int, %(phase)s::text, %(name)s::text, %(checksum)s::text);
