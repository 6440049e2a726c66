-- Does: lists the migrations that were applied, in their order.
-- Locks: none.
-- Index: migration_pkey.
-- Bound: one row per migration, some dozens in the life of an installation.
select number, phase, name, checksum from perdure.migration order by number;
