-- Does: says whether the schema has its table of migrations, without an error when there is no such schema.
-- Locks: none.
-- Index: the catalogue's own.
-- Bound: one row.
select to_regclass('perdure.migration') is not null as found;
